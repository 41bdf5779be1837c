"""Families of U-Nets that take adapters: Stable Diffusion 1.x, 2.x, XL and SDXS."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils.torch_utils import is_compiled_module
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from swiftpie.backbones.adapters import (
    branches_alone,
    branches_of,
    change_weights,
    check_family,
    check_image_encoder,
    install_adapter,
    open_adapter,
    untrained,
    with_defaults,
    wrap_image_encoder,
    write_adapter,
)
from swiftpie.backbones.choices import Choices, dtype_of, schedule_of, with_steps
from swiftpie.backbones.components import Components, Engine, Family
from swiftpie.backbones.diffusers_reference import ReferenceMaker, open_unet_reference
from swiftpie.backbones.downloads import DownloadList, ModelPart
from swiftpie.backbones.load.ip_adapter import Adapter, check_reads_lora, fuse_lora_file
from swiftpie.backbones.load.networks import (
    MOTION_LORA_SCALE,
    built,
    check_autoencoder,
    moving,
    read_autoencoder,
    read_clip_config,
    read_config,
    read_motion,
    read_unet,
    readers_for,
    widen_autoencoder,
)
from swiftpie.backbones.load.safe import Kind, check_kind
from swiftpie.backbones.load.weights import (
    HALVES,
    NetworkReader,
    check_tokenizer,
    fingerprint_files,
    read_tokenizer,
    unknown_fingerprint,
)
from swiftpie.backbones.presets import Preset, UntrainedDetail, WeightsKind, describe, read_preset
from swiftpie.backbones.sources import (
    WeightFormats,
    WeightsResolver,
    is_settings,
    plan_adapter,
    plan_image_encoder,
    plan_networks,
)
from swiftpie.errors import CapabilityError, ConfigError, InputError, WeightsError
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import (
    Denoiser,
    UNetDenoiser,
    check_bare,
    sharing_weights,
    without_branches,
)
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.text import PromptEncoder, TextTower, TwoTextTowers
from swiftpie.models.vision import ClipIdentityEncoder, Projector
from swiftpie.registry import by_name
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)

SIZE_CONDITIONING = "text_time"  # what the config of XL's U-Net calls it
TAKEN = ("cross_attention_dim", "in_channels", "addition_embed_type")
SHAPE = ("block_out_channels", "layers_per_block", "transformer_layers_per_block", "mid_block_type")
SECOND = {"inversion": TAKEN, "reference": (*TAKEN, *SHAPE)}  # settings as the denoiser has them

Text = TextTower | TwoTextTowers
Tower = tuple[str, str, Callable[[CLIPTextConfig], nn.Module]]  # its folder, its tokenizer's, class


class StableDiffusion(Family):
    """Versions 1.x and 2.x: one text tower; an empty prompt where guidance wants none."""

    tiny_autoencoder: str | None = "madebyollin/taesd"
    takes_adapters = True
    knows_all_times = True
    is_large = True
    towers: tuple[Tower, ...] = (("text_encoder", "tokenizer", CLIPTextModel),)
    lora_loader: str = "StableDiffusionLoraLoaderMixin"
    is_size_conditioned = False  # whether the U-Net reads the picture's size besides the text
    has_middle = True  # whether the U-Net has a middle block

    def __init__(self, name: str, *, projects_linearly: bool) -> None:
        self.name = name
        self.projects_linearly = projects_linearly  # around attention, where 1.x convolves

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        preset = with_steps(preset, choices.get("steps"))
        needs = self.download_plan(preset, device=device, choices=choices)
        adapter_part = needs.part("adapter")
        if adapter_part is not None and adapter_part.missing:
            # It says which image encoder it reads.
            DownloadList((adapter_part,)).fetch()
            needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        preset = _with_detail(preset, choices)
        reader, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline = needs["pipeline"].path
        text = self._read_text(pipeline, waiting)
        tower = None
        if (place := needs.path("image_encoder")) is not None:
            build_tower = partial(built, CLIPVisionModelWithProjection)
            tower = waiting.keep("image_encoder", place, build_tower, stays=False)
        adapter = _open_adapter(needs.path("adapter"), reader)
        can_wait = needs.part("lora") is None and _leaves_weights(choices, adapter)
        unet = self._read_unet(needs, waiting if can_wait else reader)
        # As these weights were published to be used.
        takes_unet = preset.edit_mode == "released" and bool(adapter and adapter.unet)
        again = partial(self._read_unet, needs)
        if adapter is not None and (adapter.lora or adapter.unet):
            again = partial(self._read_changed, needs, takes_unet=takes_unet)
        reader.rest(unet, again, stays=True)
        own_autoencoder = needs.path("autoencoder") or pipeline / "vae"
        autoencoder = read_autoencoder(own_autoencoder, reader)
        denoiser, projector = install_adapter(
            unet,
            adapter,
            family=self.name,
            plan=branches_of(adapter, choices.get("detail"))
            if adapter
            else branches_alone(preset, width=text.width),
            reference=_second(waiting, needs, "reference"),
            takes_unet=takes_unet,
        )
        image_encoder = None
        if projector is not None:
            assert tower is not None, "an adapter needs one"
            image_encoder = wrap_image_encoder(tower, projector)
        branches = denoiser.installation.plan
        detail = choices.get("detail")
        if adapter and detail in {"joint", "matched"} and branches != untrained(branches, detail):
            logger.warning(
                '`detail="%s"` has no effect: the adapter has a trained detail branch, which is '
                "used.",
                detail,
            )
        inversion = None
        # It is left out of the fingerprint: identities do without it.
        if (second := _second(replace(waiting, files={}), needs, "inversion")) is not None:
            inversion = UNetInversion(second)
        variant = ("" if adapter is None else adapter.variant) + " unet" * takes_unet
        layers = " ".join(sorted(branches.detail))
        return Components(
            preset=with_defaults(preset, adapter, branches),
            schedule=schedule_of(preset),
            text=text,
            image_encoder=image_encoder,
            autoencoder=LatentAutoencoder(autoencoder),
            denoiser=denoiser.eval().requires_grad_(False),
            inversion=inversion,
            fingerprint=fingerprint_files(
                reader.files, settings=f"{reader.dtype} {branches.merge.value} {layers}{variant}"
            ),
            engine=Engine(device=execution_device),
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadList:
        """Plan the downloads, and refuse parts that do not fit by their settings; see `Family`.

        Of an adapter that is here, the header is read: it holds its layout and family.
        """
        _check_choices(with_steps(preset, choices.get("steps")), choices)
        dtype = dtype_of(choices, device)
        formats = WeightFormats(dtype in HALVES, choices.get("allow_pickle", False))
        resolver = WeightsResolver(choices, formats)
        part = plan_adapter(resolver)
        peeked = None if part is None else _peek(part, choices)
        projector = None if peeked is None else peeked.projector
        texts = {name: tokenizer for name, tokenizer, _ in self.towers}
        parts = plan_networks(preset, resolver, texts=texts)
        needs = DownloadList((*parts, *([] if part is None else [part])))
        if part is None or peeked is not None:
            _check_reference(preset, choices, peeked)
        needs.fetch_only(is_settings)
        self._check_folders(preset, needs, adapter=peeked)
        if part is not None:
            encoder = _find_encoder(needs["pipeline"].path, projector, resolver)
            needs += DownloadList((encoder,))
            needs.fetch_only(is_settings)
            if projector is not None:
                tower = read_clip_config(encoder.path, "image_encoder", CLIPVisionConfig)
                check_image_encoder(projector, tower)
        needs = needs.with_memory(dtype.itemsize)
        needs.check_space()
        return needs

    def to_modules(self, components: Components) -> dict[str, Any]:
        denoiser, vae, inversion = components.denoiser, components.autoencoder, components.inversion
        return {
            "unet": denoiser.unet if isinstance(denoiser, UNetDenoiser) else denoiser,
            "vae": vae.network if isinstance(vae, LatentAutoencoder) else vae,
            "image_encoder": components.image_encoder,
            "inversion_unet": inversion.unet if isinstance(inversion, UNetInversion) else inversion,
            "reference_unet": getattr(denoiser, "reference", None),
            **self._text_modules(components.text),
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks; InputError for a U-Net that was exchanged. See `Family`."""
        denoiser = None if loaded is None else loaded.denoiser
        if (
            not isinstance(denoiser, UNetDenoiser)
            or denoiser.unet is not modules["unet"]
            or denoiser.reference is not modules["reference_unet"]
        ):
            is_compiled = is_compiled_module(modules["unet"])
            raise InputError(
                "The U-Net was replaced, or the one that reads references, and the identity "
                "branches are installed in them. "
                + (
                    "Call pipe.unet.compile(), which compiles it in place."
                    if is_compiled
                    else "Load the preset with the other one: from_preset(…, weights=…) or "
                    "from_preset(…, reference=…)."
                )
            )
        preset = read_preset(modules["preset"])
        return self._bundle(modules, denoiser, preset=preset, fingerprint=unknown_fingerprint())

    def to_folder(self, components: Components) -> dict[str, Any]:
        """Return second U-Nets around the same weights, their branches left out; see `Family`."""
        modules, encoder = self.to_modules(components), components.image_encoder
        if not isinstance(encoder, ClipIdentityEncoder | None):
            raise CapabilityError(
                f"The image encoder is a {type(encoder).__name__}; the folder of a Stable "
                "Diffusion pipeline has a place for CLIP's only. Load them with "
                "from_preset(…, adapter=…)."
            )
        whole = replace(
            components.preset, kind=WeightsKind.PIPELINE, file=None, lora=None, base=None
        )
        return modules | {
            "unet": without_branches(modules["unet"]),
            "image_encoder": None if encoder is None else encoder.tower,
            "preset": describe(whole),
        }

    def from_folder(self, modules: Mapping[str, Any], adapter: Path | None) -> Components:
        preset, unet = read_preset(modules["preset"]), modules["unet"]
        check_bare(unet)
        opened = None if adapter is None else open_adapter(adapter)
        vae = widen_autoencoder(modules["vae"])
        self._check_parts(
            preset,
            unet.config,
            text_width=self._text_of(modules).width,
            latent_channels=vae.config.latent_channels,
        )
        if (reference := modules["reference_unet"]) is not None:
            self._check_second(preset, "reference", reference.config, unet.config)
        denoiser, projector = install_adapter(
            unet,
            opened,
            family=self.name,
            plan=None if opened else branches_alone(preset, width=unet.config.cross_attention_dim),
            reference=reference,
        )
        encoder = projector and wrap_image_encoder(modules["image_encoder"], projector)
        is_same = str(unet.dtype) == modules["dtype"]
        return self._bundle(
            {**modules, "image_encoder": encoder},
            denoiser,
            preset=with_defaults(preset, opened, denoiser.installation.plan),
            fingerprint=modules["fingerprint"] if is_same else unknown_fingerprint(),
        )

    def diffusers_reference(self, preset: Preset) -> ReferenceMaker | None:
        return None if preset.prediction_type == "flow" else open_unet_reference

    def sharing_weights(self, modules: Mapping[str, Any]) -> dict[str, Any]:
        """Return a second U-Net around the same weights, the others as they are; see `Family`."""
        check_bare(modules["unet"])
        unets = {name: modules[name] for name in ("unet", "reference_unet") if modules[name]}
        return {**modules, **{name: sharing_weights(unet) for name, unet in unets.items()}}

    def is_for_adapter(self, modules: Mapping[str, Any]) -> bool:
        """Whether there is CLIP's bare image encoder, which adapters read; see `Family`."""
        return isinstance(modules["image_encoder"], CLIPVisionModelWithProjection)

    def write_adapter(self, path: Path, components: Components) -> None:
        if isinstance(components.image_encoder, ClipIdentityEncoder):
            write_adapter(path, components)

    def _bundle(
        self, modules: Mapping[str, Any], denoiser: Denoiser, *, preset: Preset, fingerprint: str
    ) -> Components:
        inversion = modules["inversion_unet"]
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=self._text_of(modules),
            image_encoder=modules["image_encoder"],
            autoencoder=LatentAutoencoder(modules["vae"]),
            denoiser=denoiser,
            inversion=None if inversion is None else UNetInversion(inversion),
            fingerprint=fingerprint,
        )

    def _read_text(self, folder: Path, reader: NetworkReader) -> Text:
        modules: dict[str, Any] = {}
        for name, tokenizer, tower in self.towers:
            modules[tokenizer] = read_tokenizer(folder / tokenizer, CLIPTokenizer)
            build = partial(built, tower)
            modules[name] = reader.keep(name, folder / name, build, stays=False)
        return self._text_of(modules)

    def _text_of(self, modules: Mapping[str, Any]) -> Text:
        return TextTower(modules["tokenizer"], modules["text_encoder"])

    def _text_modules(self, text: PromptEncoder) -> dict[str, Any]:
        assert isinstance(text, TextTower), "prompts are read by CLIP"
        return {"text_encoder": text.encoder, "tokenizer": text.tokenizer}

    def _read_unet(self, needs: DownloadList, reader: NetworkReader) -> UNet2DConditionModel:
        own, lora, motion = map(needs.path, ("denoiser", "lora", "motion"))
        folder = needs["pipeline"].path / "unet"
        if own is not None and own.is_dir():
            unet = read_unet(own, reader)
        else:
            unet = read_unet(folder, reader, weights=own)
        if lora is not None:
            reader.files["lora"] = lora
            fuse_lora_file(
                unet,
                lora,
                family=self.name,
                loader=self.lora_loader,
                scale=1.0 if motion is None else MOTION_LORA_SCALE,
                allow_pickle=reader.allow_pickle,
            )
        if motion is not None:
            return moving(unet, read_motion(motion, reader, unet=folder))
        return unet

    def _read_changed(
        self, needs: DownloadList, reader: NetworkReader, *, takes_unet: bool
    ) -> UNet2DConditionModel:
        """Return the U-Net with what the adapter's file has besides: another one, or a LoRA."""
        unet = self._read_unet(needs, reader)
        adapter = _open_adapter(needs.path("adapter"), reader)
        assert adapter is not None
        change_weights(adapter, unet, takes_unet=takes_unet)
        return unet

    def _check_folders(
        self, preset: Preset, needs: DownloadList, *, adapter: Adapter | None
    ) -> None:
        # By their settings alone: weights may be large, or not here yet.
        pipeline, own = needs["pipeline"], needs.part("denoiser")
        has_network = own is not None and own.path.is_dir()
        denoiser = own.path if own and has_network else pipeline.path / "unet"
        unet = read_config(denoiser, "unet", UNet2DConditionModel)
        self._check_family(preset, unet)
        autoencoder = needs.part("autoencoder")
        widths = []
        for name, tokenizer, _ in self.towers:
            folder = pipeline.path / name
            widths.append(read_clip_config(folder, name, CLIPTextConfig).hidden_size)
            if not pipeline.missing:
                check_tokenizer(pipeline.path / tokenizer)
        folder = pipeline.path / "vae" if autoencoder is None else autoencoder.path
        vae = read_config(folder, "vae", AutoencoderKL)
        check_autoencoder(folder, vae)
        self._check_parts(
            preset, unet, text_width=sum(widths), latent_channels=vae["latent_channels"]
        )
        if adapter is not None:
            check_family(adapter, family=self.name, width=unet["cross_attention_dim"])
        for name in SECOND:
            if (second := needs.part(name)) is not None:
                read = read_config(second.path, name, UNet2DConditionModel)
                self._check_second(preset, name, read, unet)

    def _check_second(
        self, preset: Preset, name: str, own: Mapping[str, Any], unet: Mapping[str, Any]
    ) -> None:
        def plain(value: object) -> object:  # files have lists, defaults tuples
            return list(value) if isinstance(value, tuple) else value

        facts = {
            f"{what} of the {name} network": (plain(own[what]), plain(unet[what]))
            for what in SECOND[name]
            if what in unet  # moving ones have no type of the middle
        }
        self.check_facts(preset, facts)

    def _check_family(self, preset: Preset, unet: Mapping[str, Any]) -> None:
        found = _family_of(unet)
        if found != self.name:
            raise WeightsError(
                f"The networks are of the family {found!r}, and preset {preset.name!r} is of "
                f"{self.name!r}. Pass weights of the family {self.name!r}, or choose a preset of "
                f"{found!r} (`swiftpie presets`)."
            )

    def _check_parts(
        self, preset: Preset, unet: Mapping[str, Any], *, text_width: int, latent_channels: int
    ) -> None:
        self._check_family(preset, unet)
        facts = {
            "width of the text": (text_width, unet["cross_attention_dim"]),
            "latent channels": (latent_channels, preset.latent_channels),
            "channels of the U-Net": (unet["in_channels"], preset.latent_channels),
        }
        self.check_facts(preset, facts)


class Sdxs(StableDiffusion):
    """Version 1.x without its middle block and with fewer layers, for one step (arXiv:2403.16627).

    Its autoencoder is tiny already, its layers fit no public adapter, and it knows one timestep.
    """

    tiny_autoencoder = None
    knows_all_times = False
    has_middle = False


class StableDiffusionXL(StableDiffusion):
    """Two text towers, size conditioning, and zeros in place of an empty prompt."""

    tiny_autoencoder = "madebyollin/taesdxl"
    needs_pooled_text = True
    knows_shapes = True
    towers = (
        *StableDiffusion.towers,
        ("text_encoder_2", "tokenizer_2", CLIPTextModelWithProjection),
    )
    lora_loader = "StableDiffusionXLLoraLoaderMixin"
    is_size_conditioned = True

    def null_text(self, text: PromptEncoder) -> TextCondition:
        empty = text.encode([""])
        return TextCondition(
            hidden_states=torch.zeros_like(empty.hidden_states),
            attention_mask=torch.ones_like(empty.attention_mask),
            pooled=torch.zeros_like(empty.pooled),
        )

    def _text_of(self, modules: Mapping[str, Any]) -> Text:
        first = super()._text_of(modules)
        if modules["text_encoder_2"] is None:
            return first
        assert isinstance(first, TextTower)
        return TwoTextTowers(first, modules["tokenizer_2"], modules["text_encoder_2"])

    def _text_modules(self, text: PromptEncoder) -> dict[str, Any]:
        assert isinstance(text, TwoTextTowers), "prompts are read by two towers"
        second = {"text_encoder_2": text.second, "tokenizer_2": text.second_tokenizer}
        return super()._text_modules(text.first) | second


FAMILIES = by_name(
    StableDiffusion("sd15", projects_linearly=False),
    StableDiffusion("sd21", projects_linearly=True),
    StableDiffusionXL("sdxl", projects_linearly=True),
    Sdxs("sdxs", projects_linearly=False),
)


def _family_of(unet: Mapping[str, Any]) -> str:
    is_size_conditioned = unet["addition_embed_type"] == SIZE_CONDITIONING
    projects_linearly = bool(unet["use_linear_projection"])
    has_middle = unet.get("mid_block_type", "") is not None  # with motion modules it has no type
    kinds = {
        (kind.is_size_conditioned, kind.projects_linearly, kind.has_middle): kind.name
        for kind in FAMILIES.values()
    }
    return kinds.get((is_size_conditioned, projects_linearly, has_middle), "none that is known")


def _with_detail(preset: Preset, choices: Choices) -> Preset:
    """Return `preset` with the chosen form of the detail branch, where no adapter decides it."""
    detail = choices.get("detail")
    if choices.get("adapter") is not None or detail is None:
        return preset
    return replace(preset, detail=detail if detail in {"joint", "matched"} else None)


def _leaves_weights(choices: Choices, adapter: Adapter | None) -> bool:
    """Whether installing `adapter` neither changes nor copies a weight of the U-Net."""
    if adapter is None or adapter.is_ours or adapter.lora or adapter.unet:
        return False
    plan = branches_of(adapter, choices.get("detail"))
    return not (plan.detail and plan.own_projections)


def _check_choices(preset: Preset, choices: Choices) -> None:
    # Refuses what is missing, and what would be left unused.
    if preset.kind is WeightsKind.LORA or preset.lora is not None:
        check_reads_lora()
    if choices.get("base") is not None and preset.kind is WeightsKind.PIPELINE:
        raise ConfigError(
            f"Preset {preset.name!r} is a whole pipeline and takes no `base=`. Only presets of a "
            "denoiser or a LoRA do. Pass `weights=`."
        )
    if choices.get("adapter") is not None:
        return
    if choices.get("image_encoder") is not None:
        raise ConfigError(
            "`image_encoder=` needs the adapter that reads it, because the adapter decides which "
            "encoder fits. Pass `adapter=` too."
        )
    acts_alone = choices.get("detail") in {*get_args(UntrainedDetail), preset.detail and "none"}
    if choices.get("detail") is not None and not acts_alone:
        raise ConfigError("`detail=` has no effect without an adapter. Pass `adapter=` too.")


def _check_reference(preset: Preset, choices: Choices, adapter: Adapter | None) -> None:
    if choices.get("reference") is None:
        return
    plan = branches_alone(_with_detail(preset, choices), width=1)
    if adapter is not None:
        plan = branches_of(adapter, choices.get("detail"))
    if plan is None or not plan.detail:
        raise ConfigError(
            "`reference=` needs a detail branch, which takes what that network reads. Pass "
            "`detail='joint'`, which needs no training, or an `adapter=` with a detail branch, or "
            "leave it out."
        )


def _peek(part: ModelPart, choices: Choices) -> Adapter | None:
    """Return an adapter by its header; None where it is not here yet."""
    allow_pickle = choices.get("allow_pickle", False)
    if not part.path.exists():
        kind: Kind = "safetensors" if part.path.suffix == ".safetensors" else "pickle"
        check_kind(kind, Path(str(part.reference)), allow_pickle=allow_pickle)
        return None
    return open_adapter(part.path, allow_pickle=allow_pickle, by_header=True)


def _open_adapter(path: Path | None, reader: NetworkReader) -> Adapter | None:
    if path is None:
        return None
    reader.files["adapter"] = path
    return open_adapter(path, allow_pickle=reader.allow_pickle)


def _second(reader: NetworkReader, needs: DownloadList, name: str) -> UNet2DConditionModel | None:
    place, build = needs.path(name), partial(built, UNet2DConditionModel)
    return None if place is None else reader.keep(name, place, build, stays=True)


def _find_encoder(
    pipeline: Path, projector: Projector | None, resolver: WeightsResolver
) -> ModelPart:
    """Return where the image encoder is or will be; most adapters read the same."""
    folder = pipeline / "image_encoder"  # most pipelines have none
    if resolver.choices.get("image_encoder") is None and folder.is_dir():
        return ModelPart("image_encoder", "image_encoder", None, root=folder, path=folder)
    return plan_image_encoder(projector, resolver)
