"""LoRAs and textual inversions of a pipeline, and methods of diffusers that are refused by name."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Unpack

from diffusers import loaders
from diffusers.pipelines.pipeline_utils import StableDiffusionMixin
from safetensors.torch import load_file
from torch import Tensor, nn

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components
from swiftpie.backbones.load.ip_adapter import LoraScale, lora_scales
from swiftpie.diffusers import calls
from swiftpie.diffusers import modules as parts
from swiftpie.diffusers.base import ModulesPipeline
from swiftpie.diffusers.modules import Lora
from swiftpie.errors import CapabilityError, InputError
from swiftpie.models.denoiser import sharing_weights

Words = str | Path | Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Loras:
    """The LoRAs of a pipeline, in the order that they were loaded."""

    known: Mapping[str, Lora] = field(default_factory=dict)  # by name; active if it has a strength
    fused: Mapping[str, Lora] | None = None  # drawn in place of the active ones
    kept: tuple[Lora, ...] = ()  # fused ones that were unloaded
    is_off: bool = False

    @property
    def drawn(self) -> list[Lora]:
        acting = {} if self.is_off else self.known if self.fused is None else self.fused
        return [lora for lora in (*self.kept, *acting.values()) if lora.acts]

    @property
    def active(self) -> dict[str, Lora]:
        """Those with a strength, by name."""
        return {name: lora for name, lora in self.known.items() if lora.acts}

    def names(self, given: str | Sequence[str]) -> list[str]:
        """Return names as a list, or raise InputError if there is no such LoRA."""
        names = [given] if isinstance(given, str) else list(given)
        if unknown := [name for name in names if name not in self.known]:
            raise InputError(
                f"There is no LoRA {unknown[0]!r} in this pipeline; there are "
                f"{', '.join(map(repr, self.known)) or 'none'}. Call load_lora_weights() before."
            )
        return names


class AdaptedPipeline(ModulesPipeline):
    """A pipeline whose LoRAs and textual inversions come and go, with arguments as in diffusers."""

    _loras = Loras()
    _plain: Components | None = None  # the networks without LoRAs, if there are some

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | Mapping[str, Any],
        adapter_name: str | None = None,
        **where: Unpack[parts.Where],
    ) -> None:
        """Draw with a LoRA, in place of those that were drawn.

        Raises:
            CapabilityError: There are no LoRAs for the preset's networks.
            InputError: The file name is missing, or the LoRA's name is taken.
            MissingExtra: peft is not installed.
            WeightsError: A file cannot be had, or is for other networks.
        """
        known = self._loras.known
        name = adapter_name or f"default_{len(known)}"
        if name in known:
            raise InputError(
                f"There is a LoRA {name!r} already. Choose another `adapter_name=`, or call "
                "delete_adapters() or unload_lora_weights() before."
            )
        self._changeable()
        given: Any = pretrained_model_name_or_path_or_dict
        read = parts.lora_of if isinstance(given, Mapping) else partial(parts.file_at, **where)
        lora = Lora(read(given))
        silent = {other: replace(each, scale=0.0) for other, each in known.items()}
        self._use(replace(self._loras, known={**silent, name: lora}))

    def unload_lora_weights(self) -> None:
        """Take all LoRAs off again; those that are fused stay in the weights."""
        loras = self._loras
        self._use(Loras(kept=(*loras.kept, *(loras.fused or {}).values())))

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: LoraScale | Sequence[LoraScale | None] | None = None,
    ) -> None:
        """Draw with these LoRAs alone, of one strength or one each; None is 1.

        A strength is a number, or `{"unet": …}` with a number or numbers by block, as in diffusers.

        Raises:
            InputError: There is no such LoRA, or numbers are missing or out of range.
        """
        names = self._loras.names(adapter_names)
        scales = lora_scales(names, adapter_weights)
        known = self._loras.known.items()
        chosen = {name: Lora(lora.place, scales.get(name, 0.0)) for name, lora in known}
        self._use(replace(self._loras, known=chosen))

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Forget these LoRAs; where none that acts is left, the first of the others does.

        Raises:
            InputError: There is no such LoRA.
        """
        gone = self._loras.names(adapter_names)
        left = {name: lora for name, lora in self._loras.known.items() if name not in gone}
        if left and self._loras.active and not any(lora.acts for lora in left.values()):
            first = next(iter(left))
            left[first] = Lora(left[first].place)
        self._use(replace(self._loras, known=left))

    def disable_lora(self) -> None:
        """Draw without LoRAs until `enable_lora`."""
        self._use(replace(self._loras, is_off=True))

    def enable_lora(self) -> None:
        """Draw with LoRAs again."""
        self._use(replace(self._loras, is_off=False))

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def fuse_lora(
        self,
        components: Sequence[str] = ("unet", "text_encoder"),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,  # noqa: FBT001, FBT002 - where diffusers has it
        adapter_names: Sequence[str] | None = None,
    ) -> None:
        """Put the active LoRAs, or those with these names, into the weights with `lora_scale`.

        They stay there when they are unloaded; until then `unfuse_lora` takes them out.

        Raises:
            InputError: There is no such LoRA, it is fused already, or the U-Net is not named.
        """
        del safe_fusing  # weights that are no numbers are refused when they are drawn
        names = list(self._loras.active)
        if adapter_names is not None:
            names = self._loras.names(adapter_names)
        if not names or "unet" not in components or self._loras.fused is not None:
            raise InputError(
                f"fuse_lora() was asked to fuse {names} into {list(components)}. LoRAs act in the "
                "'unet', and are fused once. Call unfuse_lora() or load_lora_weights() before."
            )
        lora_scales(names, lora_scale)
        known = self._loras.known
        factors = {name: known[name].factor * lora_scale for name in names}
        fused = {name: replace(known[name], factor=factor) for name, factor in factors.items()}
        self._use(replace(self._loras, fused=fused))

    def unfuse_lora(self, components: Sequence[str] = ("unet", "text_encoder")) -> None:
        """Take the LoRAs out of the weights again that are loaded."""
        del components  # they are in the U-Net alone
        known, fused = self._loras.known, self._loras.fused or {}
        self._use(replace(self._loras, known={**known, **fused}, fused=None))

    @property
    def fused_loras(self) -> set[str]:
        """The names of the LoRAs that are fused and loaded."""
        return {*(self._loras.fused or {})}

    @property
    def num_fused_loras(self) -> int:
        """How many these are."""
        return len(self.fused_loras)

    def get_active_adapters(self) -> list[str]:
        """Return the names of the LoRAs that act."""
        return list(self._loras.active)

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Return the names of all LoRAs, by the network that they change."""
        return {"unet": list(self._loras.known)} if self._loras.known else {}

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def load_textual_inversion(
        self,
        pretrained_model_name_or_path: Words | Sequence[Words],
        token: str | Sequence[str] | None = None,
        tokenizer: Any = None,  # noqa: ANN401 - of this pipeline
        text_encoder: nn.Module | None = None,
        **where: Unpack[parts.Where],
    ) -> None:
        """Let prompts say `token`, whose vectors are in a safetensors file, or given as tensors.

        Several come as lists.

        Stable Diffusion XL has two text encoders: load once for each, with its tokenizer. Other
        pipelines that share the networks do not change.

        Raises:
            CapabilityError: The preset's prompts are not read by CLIP's text encoders.
            InputError: The file name or the token is missing, or the vectors do not fit.
            WeightsError: A file cannot be had.
        """
        self._changeable()
        words = pretrained_model_name_or_path
        given: Any = [
            load_file(parts.file_at(each, **where)) if isinstance(each, str | Path) else each
            for each in (words if isinstance(words, list | tuple) else [words])
        ]
        self._reword(_Words().load_textual_inversion, tokenizer, text_encoder, given, token)

    @partial(checked, gone=calls.GONE_OF_ADAPTERS)
    def unload_textual_inversion(
        self,
        tokens: str | Sequence[str] | None = None,
        tokenizer: Any = None,  # noqa: ANN401 - of this pipeline
        text_encoder: nn.Module | None = None,
    ) -> None:
        """Forget these tokens, or all.

        Raises:
            InputError: There is no such token.
        """
        self._changeable()
        self._reword(_Words().unload_textual_inversion, tokenizer, text_encoder, tokens)

    def _reword(
        self,
        change: Callable[..., None],
        tokenizer: Any,  # noqa: ANN401 - as above
        text_encoder: nn.Module | None,
        *given: Any,  # noqa: ANN401 - vectors or tokens
    ) -> None:
        """Change copies of a tokenizer and its encoder, by default of the first ones."""
        is_second = text_encoder is not None and text_encoder is self.text_encoder_2
        suffix = "_2" if is_second else ""
        own = [getattr(self, f"{name}{suffix}") for name in ("tokenizer", "text_encoder")]
        for mine, other in zip(own, (tokenizer, text_encoder), strict=True):
            if other is not None and other is not mine:
                raise InputError(
                    f"A {type(other).__name__} came that is not of this pipeline. Pass both "
                    "`tokenizer=pipe.tokenizer_2` and `text_encoder=pipe.text_encoder_2`, or none."
                )
        words, encoder = copy.deepcopy(own[0]), sharing_weights(own[1])
        vectors = encoder.get_input_embeddings()
        vectors.weight = nn.Parameter(vectors.weight.detach().clone(), requires_grad=False)
        try:
            lists = (list(each) if isinstance(each, tuple) else each for each in given)
            change(*lists, tokenizer=words, text_encoder=encoder)
        except ValueError as error:
            raise InputError(
                f"The textual inversion cannot be changed ({error}). Tensors of vectors for this "
                "text encoder and one new `token=` each are needed."
            ) from error
        encoder.requires_grad_(False)
        setattr(self, f"tokenizer{suffix}", words)
        setattr(self, f"text_encoder{suffix}", encoder)

    def _changeable(self) -> Components:
        """Return the networks without LoRAs, of a family that takes them."""
        loaded, plain = super()._changeable(), self._plain
        if plain is None:
            return loaded
        return replace(loaded, denoiser=plain.denoiser, fingerprint=plain.fingerprint)

    def _use(self, loras: Loras) -> None:
        """Give the denoiser these LoRAs, all or, if one does not fit, none of the change."""
        if loras == self._loras:
            return
        plain = self._changeable()
        if loras.drawn != self._loras.drawn:
            self._take(parts.fused(plain, loras.drawn) if loras.drawn else plain)
        self._loras, self._plain = loras, plain if loras.drawn else None

    def _exchange(
        self, plain: Components, modules: Mapping[str, object], adapter: Path | None
    ) -> None:
        """Take networks with another adapter, and put the LoRAs into them again."""
        super()._exchange(plain, modules, adapter)
        loras, self._loras, self._plain = self._loras, Loras(), None
        self._use(loras)


class _Words(loaders.TextualInversionLoaderMixin):  # type: ignore[misc]  # not annotated
    """What diffusers' loader of textual inversions asks of a pipeline, which offloads nothing."""

    hf_device_map = None
    components: Mapping[str, nn.Module] = {}


def _refused(name: str) -> Any:  # noqa: ANN401 - a method
    def refuse(*_: object, **__: object) -> NoReturn:
        raise CapabilityError(
            f"{name}() is not there. {calls.INSTEAD['methods'].get(name, calls.ELSE)}"
        )

    refuse.__name__ = name
    refuse.__doc__ = "Refuse, and say what to call instead."
    return refuse


_names = {"set_ip_adapter_scale"}  # of `IPAdapterMixin`, whose import warns of torchvision
for _mixin in (
    *(loaders.TextualInversionLoaderMixin, loaders.FromSingleFileMixin),
    *(loaders.StableDiffusionLoraLoaderMixin, loaders.StableDiffusionXLLoraLoaderMixin),
    StableDiffusionMixin,
):
    _names |= {name for name in dir(_mixin) if callable(getattr(_mixin, name)) and name[0] != "_"}
for _name in _names:
    if not hasattr(AdaptedPipeline, _name):
        setattr(AdaptedPipeline, _name, _refused(_name))
