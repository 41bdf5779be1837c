"""What both pipelines share: loading, saving, sharing, offloading, adapters, and their calls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Unpack

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from swiftpie.arguments import checked
from swiftpie.backbones.choices import Choices, device_of, dtype_of, resolve
from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.diffusers_reference import scheduler_of
from swiftpie.backbones.load.weights import align_memory, unknown_fingerprint
from swiftpie.backbones.presets import PRESETS, Recipe, describe, read_preset
from swiftpie.diffusers import calls
from swiftpie.diffusers import modules as parts
from swiftpie.diffusers.calls import Call, SwiftPiePipelineOutput
from swiftpie.engine.offload import offloaded
from swiftpie.engine.session import Session
from swiftpie.errors import CapabilityError, ConfigError, InputError, short_reason
from swiftpie.faces import FaceEncoder
from swiftpie.imageio.atomic import updated_folder
from swiftpie.pipelines.denoise import OnStep, StopDrawing
from swiftpie.pipelines.tasks import Request
from swiftpie.types import EditResult, GenerationResult

CallT = TypeVar("CallT", bound=Call)


class ModulesPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not annotated
    """A diffusers pipeline around the networks of a preset, which loads adapters and LoRAs later.

    Networks shared with other pipelines do not change then: this pipeline gets a second U-Net
    around the same weights, and new weights for the layers that a LoRA changes.
    """

    _optional_components: ClassVar[list[str]] = list(parts.OPTIONAL)
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _interrupt = False  # a callback sets it to end the drawing after its step, as in diffusers
    face_encoder: FaceEncoder | None = None  # finds the faces of photographs, as in a session

    @calls.spelled_as(parts.Modules)
    def __init__(self, modules: parts.Modules) -> None:
        """Register `modules`; `from_preset` and `from_pretrained` find them for you."""
        super().__init__()
        given = dict(vars(modules))
        settings = {name: given.pop(name) for name in parts.SETTINGS}
        self.register_modules(**given)
        self.register_to_config(**settings)
        self._loaded: Components | None = None
        # Where networks compute, and for which loaded ones those that rest were made.
        self._resting: tuple[torch.device, Components | None, Any] | None = None

    @classmethod
    def from_components(cls, components: Components) -> Self:
        """Return a pipeline around loaded networks; nothing is copied."""
        pipeline = cls(**parts.to_modules(components))
        pipeline._loaded = components
        return pipeline

    @classmethod
    @partial(checked, gone=calls.GONE_OF_LOADING)
    def from_preset(
        cls, preset: str = "mini", *, device: str = "cpu", **choices: Unpack[Choices]
    ) -> Self:
        """Load a preset by name, as `swiftpie.load` does.

        Raises:
            ConfigError: No such preset, or it leaves no such choice.
            WeightsError: Weights are missing, damaged or do not fit.
        """
        return cls.from_components(load_components(PRESETS.get(preset), device=device, **choices))

    @classmethod
    @partial(checked, gone=calls.GONE_OF_LOADING)
    def from_recipe(
        cls, recipe: str | Recipe, *, device: str = "cpu", **choices: Unpack[Choices]
    ) -> Self:
        """Load a recipe, by name or as a value; `choices` are taken instead of its own."""
        preset, merged = resolve(None, recipe, choices)
        return cls.from_components(load_components(preset, device=device, **merged))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:  # noqa: ANN401 - diffusers' options
        """Load a folder that `save_pretrained` wrote; `options` are those of diffusers.

        Raises:
            ConfigError: Another program wrote the folder.
            WeightsError: There is no pipeline, the adapter is missing, or parts do not belong
                together.
        """
        place = pretrained_model_name_or_path
        calls.check_safe(options, "use_safetensors", "from_pretrained")
        options.setdefault("dtype", options.pop("torch_dtype", None))  # its older name
        options["dtype"] = options["dtype"] and dtype_of({"dtype": options["dtype"]}, "cpu")
        preset = parts.preset_of(place, options, wanted=cls)
        if options.keys() & {field.name for field in fields(parts.Modules)} - parts.SETTINGS:
            options.setdefault("fingerprint", unknown_fingerprint())
        known = read_preset(preset)
        family = FAMILIES.get(known.family)
        options.setdefault("scheduler", scheduler_of(known))
        options = parts.own_modules(family, place, options) | options
        pipeline: Self = super().from_pretrained(place, use_safetensors=True, **options)
        for module in pipeline.components.values():
            if isinstance(module, nn.Module):
                align_memory(module)
        current = pipeline._current()
        adapter = parts.find_adapter(place, options) if family.is_for_adapter(current) else None
        pipeline._loaded = family.from_folder(current, adapter)
        pipeline.image_encoder = pipeline._loaded.image_encoder
        pipeline.to_components()  # raises now rather than at the first call
        return pipeline

    @classmethod
    def from_pipe(
        cls,
        pipeline: DiffusionPipeline,
        *,
        preset: str | None = None,
        adapter: str | Path | None = None,
        **modules: Any,  # noqa: ANN401 - any network
    ) -> Self:
        """Return a pipeline of this class that shares the networks of `pipeline`.

        That may be one of SwiftPie, or of diffusers for Stable Diffusion, and goes on working. For
        one of diffusers, `preset` names its weights and `adapter` is a file of an identity adapter
        for them. `modules` are taken instead of its own, as `vae=…`.

        Raises:
            InputError: What is needed is not given, or there is no such module.
            WeightsError: The weights are not of the preset, or the adapter is for others.
        """
        names = {field.name for field in fields(parts.Modules)} - parts.SETTINGS
        if unknown := sorted(modules.keys() - names):
            raise InputError(
                f"from_pipe() got {unknown[0]!r}, which pipelines here have not. Leave it out, or "
                f"pass any of {', '.join(sorted(names))}."
            )
        is_own = isinstance(pipeline, ModulesPipeline)
        if not isinstance(pipeline, DiffusionPipeline) or is_own != (preset is adapter is None):
            raise InputError(
                f"from_pipe() got a {type(pipeline).__name__} and preset={preset!r}. A pipeline of "
                "diffusers needs the preset of its weights (`swiftpie presets`); one of SwiftPie "
                "knows its own, and its adapter. Load folders by from_pretrained()."
            )
        if preset is not None:
            file = None if adapter is None else Path(adapter)
            return cls.from_components(
                parts.load_modules(pipeline, PRESETS.get(preset), file, modules)
            )
        # Offloading is not shared between pipelines.
        made = cls.from_components(pipeline._at_rest())  # noqa: SLF001 - of this very class
        for name, module in modules.items():
            setattr(made, name, module)
        return made

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:  # noqa: ANN401 - diffusers' options
        """Write every module to a folder that `from_pretrained` reads; `options` as in diffusers.

        What diffusers knows is written as diffusers writes it, the adapter in its own file.
        If writing fails, files that are there stay as they are.

        Raises:
            CapabilityError: The networks have no place in such a folder.
            InputError: The folder cannot be written to.
        """
        calls.check_safe(options, "safe_serialization", "save_pretrained")
        components = self._checked()
        family, target = components.family, Path(save_directory).absolute()
        plain = type(self)(**parts.to_modules(components) | family.to_folder(components))
        options.setdefault("repo_id", target.name)  # for push_to_hub
        try:
            with updated_folder(target) as folder:
                family.write_adapter(folder / parts.ADAPTER, components)
                parts.write_own(family, plain, folder)
                super(ModulesPipeline, plain).save_pretrained(
                    str(folder), safe_serialization=True, **options
                )
        except OSError as error:
            raise InputError(
                f"The pipeline cannot be saved in '{target}' ({short_reason(error)}). A folder "
                "with room for all of its weights is needed. Choose another one."
            ) from error

    def to_components(self) -> Components:
        """Return the networks as the rest of SwiftPie takes them, as in `Session(…)`.

        Raises:
            InputError: The scheduler was exchanged, or something of the denoiser.
            CapabilityError: The networks were converted to a type that they cannot work in.
        """
        loaded = self._checked()
        if self._resting is None:
            # Without what was derived from the modules, as they may have changed since.
            return replace(loaded)
        device, before, away = self._resting
        if before is not loaded:
            away = offloaded(replace(loaded), device)
            self._resting = (device, loaded, away)
        return replace(away)

    def enable_model_cpu_offload(
        self, gpu_id: int = 0, device: torch.device | str = "cuda"
    ) -> None:
        """Keep networks in main memory while they do not run; arguments as in diffusers.

        Hooks and switches of networks, such as tiling, have to come before.

        Raises:
            ConfigError: There is no such device here. Networks stay where they are.
        """
        place = torch.device(device)
        place = torch.device(place.type, place.index or gpu_id)
        try:
            device_of(str(place))
        except ConfigError as error:
            raise ConfigError(
                f"enable_model_cpu_offload() needs an accelerator, and {str(place)!r} cannot be "
                "used here. Leave the call out: the pipeline then draws on the processor. "
                "`device=` takes another device that `swiftpie doctor` lists."
            ) from error
        self.to("cpu")
        if self.layout_predictor is not None:
            self.layout_predictor.to(place)  # small, and called from outside
        self._resting = (place, None, None)

    def remove_all_hooks(self) -> None:
        """Offload no more; networks are in main memory."""
        self._resting = None
        self.to("cpu")

    def enable_sequential_cpu_offload(self, *_: object, **__: object) -> None:
        """Refuse: identities are read from inside of layers, where their weights would be away.

        Raises:
            CapabilityError: Always.
        """
        raise CapabilityError(
            "Single layers cannot be offloaded, because identities are read from inside of them. "
            "Use enable_model_cpu_offload()."
        )

    enable_group_offload = enable_sequential_cpu_offload

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def load_ip_adapter(
        self,
        pretrained_model_name_or_path_or_dict: str | Path,
        subfolder: str = "",
        weight_name: str | None = None,
        image_encoder_folder: str | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Put an identity adapter into the U-Net, in place of the one that is there.

        Args:
            pretrained_model_name_or_path_or_dict: A file, a folder, or OWNER/REPO on the hub.
            subfolder: Where in it the file is.
            weight_name: The file, a safetensors one, of SwiftPie or of IP-Adapter's layout.
            image_encoder_folder: What the adapter reads; by default what is loaded or, if there is
                none, the public encoder that fits.
            revision: Commit, branch or tag of the repository.
            local_files_only: Whether nothing may be downloaded.

        Raises:
            CapabilityError: There are no adapters for the preset.
            InputError: The file name is missing.
            WeightsError: A file cannot be had, or is for other networks.
        """
        plain = self._changeable()
        place = pretrained_model_name_or_path_or_dict
        source = parts.Source(place, subfolder, revision, {"offline": local_files_only})
        path = source.fetch("adapter", weight_name)
        modules = plain.family.to_folder(plain)
        if modules["image_encoder"] is None or image_encoder_folder is not None:
            modules["image_encoder"] = source.read_encoder(plain, path, image_encoder_folder)
        self._exchange(plain, modules, path)

    def unload_ip_adapter(self) -> None:
        """Take the identity adapter out of the U-Net."""
        plain = self._changeable()
        self._exchange(plain, {**plain.family.to_folder(plain), "image_encoder": None}, None)

    def _checked(self) -> Components:
        loaded = self._at_rest()
        parts.check_processors(loaded)
        parts.check_scheduler(self.scheduler, loaded.preset)
        loaded.family.check_dtype(loaded.preset, loaded.denoiser.installation.network.dtype)
        return loaded

    def _at_rest(self) -> Components:
        # Rebuilt if a module was replaced.
        current = self._current()
        if self._loaded is None or not parts.is_made_of(self._loaded, current):
            self._loaded = parts.family_of(current).from_modules(current, self._loaded)
        return self._loaded

    def _current(self) -> dict[str, Any]:
        return {**self.components, **{name: self.config[name] for name in parts.SETTINGS}}

    def _answer(
        self,
        call: CallT,
        requests_of: Callable[[CallT, Session], Sequence[Request]],
        *,
        outputs: Sequence[str],
    ) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Draw the requests of a call one after the other."""
        components = self.to_components()
        calls.check_shared(call, components, outputs=outputs)
        session, drawn = self._session(components), list[GenerationResult | EditResult]()
        with torch.no_grad():
            requests = requests_of(call, session)
            with self._steps(call, components, len(requests)) as on_step:
                for request in requests:
                    drawn.append(session.draw(request, on_step=on_step))
        output = calls.output_of(call, drawn)
        return output if call.return_dict else output.to_tuple()

    def _session(self, components: Components) -> Session:
        return Session(components, cache_mib=0).with_face_encoder(self.face_encoder)

    def _changeable(self) -> Components:
        """Return the networks, of a family that takes adapters and LoRAs."""
        loaded = self._at_rest()
        if not loaded.family.takes_adapters:
            raise CapabilityError(
                f"There are no adapters and LoRAs for the networks of preset "
                f"{loaded.preset.name!r}. Load one of Stable Diffusion (`swiftpie presets`)."
            )
        return loaded

    def _exchange(
        self, plain: Components, modules: Mapping[str, object], adapter: Path | None
    ) -> None:
        settings = {"fingerprint": unknown_fingerprint(), "dtype": ""}
        preset = plain.preset
        if preset.name in PRESETS.names():  # without what the adapter before recommended
            preset = replace(preset, defaults=PRESETS.get(preset.name).defaults)
        described = {"preset": describe(preset)}
        self._take(plain.family.from_folder({**modules, **settings, **described}, adapter))

    def _take(self, components: Components) -> None:
        for name, value in parts.to_modules(components).items():
            if name in self.components and name != "scheduler":
                if getattr(self, name) is not value:
                    setattr(self, name, value)
            elif name != "scheduler":
                self.register_to_config(**{name: value})
        self._loaded = components

    @contextmanager
    def _steps(self, call: Call, components: Components, count: int) -> Iterator[OnStep]:
        """Yield the callback for each step of `count` drawings, with a progress bar."""
        callback, names = call.callback_on_step_end, call.read_by_callback
        factors = parts.latent_factors(components.preset, components.schedule)

        def on_step(index: int, timestep: float, latents: Tensor) -> Tensor:
            if callback is not None:
                shown = latents * factors[index]
                changed = callback(self, index, timestep, dict.fromkeys(names, shown))
                shown = calls.changed_by_callback(changed, shown)
                if self._interrupt:
                    raise StopDrawing(shown)
                latents = shown / factors[index]
            bar.update()
            return latents

        self._interrupt = False
        with self.progress_bar(total=count * len(factors)) as bar:
            yield on_step
