"""Families of networks that are used as they were published: a language model and no adapters."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from swiftpie.attention.condition import Notes
    from swiftpie.backbones.peers import Peer, PeerOpener
    from swiftpie.geometry.layout import Layout
    from swiftpie.models.denoiser import SubjectCondition, WholeDenoiser
    from swiftpie.models.text import LanguageText
    from swiftpie.noise import Schedule
    from swiftpie.types import Autoencoder, TextCondition

TEXT, TOKENIZER, VAE = "text_encoder", "tokenizer", "vae"
CHOICES = frozenset({"steps", "weights", "autoencoder", "detail", "dtype", "offloads"})
IDLE_CHOICES = frozenset({"allow_pickle", "offline"})


class WholeFamily(Family):
    """A denoiser, a language model and an autoencoder, each behind its protocol and no more.

    A subclass names their classes, says how they are called, and which facts in their settings must
    agree. Its file loads no tensor library before a network is needed: it describes presets too.
    """

    is_large = True
    knows_all_times = True
    knows_shapes = True
    why_no_others: str  # the end of a sentence
    denoiser_name = "transformer"  # its folder, and what a pipeline calls it
    denoiser_class: str  # of diffusers
    autoencoder_class: str  # of diffusers
    text_config: str  # of transformers
    text_class: str  # of transformers, as the pipeline of diffusers has the language model

    @abstractmethod
    def build_text(self, folder: Path) -> "nn.Module":
        """Return the language model of the settings in `folder`, whose weights come later."""

    @abstractmethod
    def peer_of(self, preset: Preset, networks: Mapping[str, Any]) -> "Peer":
        """Return the pipeline of diffusers around `networks`, by their names there."""

    @abstractmethod
    def text_width(self, config: Any) -> int:  # noqa: ANN401 - of `text_config`
        """Return the width of a token's state."""

    @abstractmethod
    def encode(self, text: "LanguageText", prompts: list[str]) -> "TextCondition":
        """Return what the denoiser reads of prompts; see `LanguageText`."""

    @abstractmethod
    def predict(
        self,
        denoiser: "WholeDenoiser",
        latents: "Tensor",
        times: "Tensor",
        text: "TextCondition",
        condition: "SubjectCondition",
    ) -> "Tensor":
        """Return clean latents minus noise (B, C, h, w) at times (B,) in (0, 1000]."""

    @abstractmethod
    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of `text_config`
    ) -> Mapping[str, tuple[object, object]]:
        """Return what the settings of the parts say and what is needed, by the name of the fact."""

    def denoiser_of(self, network: Any, *, reads_references: bool) -> "WholeDenoiser":  # noqa: ANN401 - of `denoiser_class`
        """Return the denoiser around its network."""
        from swiftpie.models.denoiser import WholeDenoiser

        del reads_references
        return WholeDenoiser(network, self)

    def text_of(self, tokenizer: "PreTrainedTokenizerBase", encoder: Any) -> "LanguageText":  # noqa: ANN401 - of `build_text`
        """Return what reads prompts."""
        from swiftpie.models.text import LanguageText

        return LanguageText(tokenizer, encoder, self)

    def autoencoder_of(self, network: Any) -> "Autoencoder":  # noqa: ANN401 - of `autoencoder_class`
        """Return the autoencoder around its network."""
        from swiftpie.models.autoencoder import LatentAutoencoder

        return LatentAutoencoder(network)

    def read_reference(self, encoded: "Tensor") -> "Notes":
        """Return what layers keep of the latents of references (R, C, h, w); nothing by default."""
        del encoded
        return {}

    def place_subjects(
        self,
        autoencoder: "Autoencoder",
        frames: "Sequence[Tensor]",
        layouts: "Sequence[Layout]",
        cells: tuple[int, int],
    ) -> "Tensor | None":
        """Return subjects in place that the denoiser takes as input; None where it takes none."""
        del autoencoder, frames, layouts, cells
        return None

    def read_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        """Return the tokenizer in `folder`."""
        from transformers import AutoTokenizer

        from swiftpie.backbones.load.weights import read_tokenizer

        tokenizer: PreTrainedTokenizerBase = read_tokenizer(
            folder, AutoTokenizer, trust_remote_code=False, local_files_only=True
        )
        return tokenizer

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load the networks; see `Family`."""
        import diffusers

        from swiftpie.backbones.choices import with_steps
        from swiftpie.backbones.load.networks import built
        from swiftpie.backbones.load.weights import fingerprint_files
        from swiftpie.backbones.readers import readers_for

        preset = with_steps(preset, choices.get("steps"))
        needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        prompt, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline, name = needs["pipeline"].path, self.denoiser_name
        skips = self.unread.get(TEXT, lambda _name: False)
        text = waiting.keep(TEXT, pipeline / TEXT, self.build_text, stays=False, skips=skips)
        build_denoiser = partial(built, getattr(diffusers, self.denoiser_class))
        network = waiting.keep(name, pipeline / name, build_denoiser, stays=True)
        build_vae = partial(built, getattr(diffusers, self.autoencoder_class))
        vae = prompt.read(VAE, needs.path("autoencoder") or pipeline / VAE, build_vae)
        reads = choices.get("detail") != "none"
        return self._components(
            preset,
            self.text_of(self.read_tokenizer(pipeline / TOKENIZER), text),
            vae,
            self.denoiser_of(network, reads_references=reads).eval(),
            fingerprint=fingerprint_files(prompt.files, settings=str(prompt.dtype)),
            execution_device=execution_device,
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadPlan:
        """Plan the downloads, and refuse parts that do not belong together; see `Family`."""
        import diffusers
        import transformers

        from swiftpie.backbones.load.networks import read_clip_config, read_config
        from swiftpie.backbones.load.weights import HALVES
        from swiftpie.backbones.sources import WeightFormats, is_settings, plan_networks

        self._check_choices(preset, choices)
        dtype = dtype_of(choices, device)
        parts = plan_networks(
            preset,
            choices,
            texts={TEXT: TOKENIZER},
            formats=WeightFormats(dtype in HALVES, allow_pickle=False),
            denoiser=self.denoiser_name,
            autoencoder=VAE,
        )
        needs = DownloadPlan(tuple(parts))
        needs.fetch_only(is_settings)
        pipeline, name = needs["pipeline"].path, self.denoiser_name
        vae = needs.path("autoencoder") or pipeline / VAE
        self._check_parts(
            preset,
            read_config(pipeline / name, name, getattr(diffusers, self.denoiser_class)),
            read_config(vae, VAE, getattr(diffusers, self.autoencoder_class)),
            read_clip_config(pipeline / TEXT, TEXT, getattr(transformers, self.text_config)),
        )
        needs = needs.with_memory(dtype.itemsize, self.unread)
        needs.check_space()
        return needs

    def peer(self, preset: Preset, needs: DownloadPlan) -> "PeerOpener":
        """Return what reads the networks by the libraries that they are of; see `Family`."""
        return partial(self._open_peer, preset, needs)

    def schedule_at(self, components: Components, cells: tuple[int, int]) -> "Schedule":
        """Return times that are shifted towards noise as far as the size wants; see `Family`."""
        from swiftpie.noise import flow_step

        known = components.schedule
        times = self.times(len(known.steps), math.prod(cells))
        if times is None or times == tuple(step.timestep for step in known.steps):
            return known
        return known.through([flow_step(time) for time in times])

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return the networks as they are; see `Family`."""
        from swiftpie.models.text import LanguageText

        text, denoiser, vae = components.text, components.denoiser, components.autoencoder
        assert isinstance(text, LanguageText), "this family reads prompts by one language model"
        return {
            self.denoiser_name: getattr(denoiser, "network", denoiser),
            VAE: getattr(vae, "network", vae),
            TEXT: text.encoder,
            TOKENIZER: text.tokenizer,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks, any of them exchanged: no adapter is in one; see `Family`.

        Raises:
            WeightsError: The parts do not belong together.
        """
        from swiftpie.backbones.load.weights import unknown_fingerprint

        preset = read_preset(modules["preset"])
        network, vae, encoder = (modules[name] for name in (self.denoiser_name, VAE, TEXT))
        self._check_parts(preset, network.config, vae.config, encoder.config)
        is_stored = loaded is None and modules.get("fingerprint")
        return self._components(
            preset,
            self.text_of(modules[TOKENIZER], encoder),
            vae,
            self.denoiser_of(network, reads_references=True),
            fingerprint=modules["fingerprint"] if is_stored else unknown_fingerprint(),
        )

    def _open_peer(self, preset: Preset, needs: DownloadPlan, dtype: "torch.dtype") -> "Peer":
        import diffusers
        import transformers

        from swiftpie.backbones.peers import pipeline_of, read_network

        place = pipeline_of(needs)
        sources = {
            self.denoiser_name: (diffusers, self.denoiser_class, place / self.denoiser_name),
            VAE: (diffusers, self.autoencoder_class, needs.path("autoencoder") or place / VAE),
            TEXT: (transformers, self.text_class, place / TEXT),
        }
        networks = {
            name: read_network(getattr(library, kind), folder, dtype)
            for name, (library, kind, folder) in sources.items()
        }
        tokenizer = self.read_tokenizer(place / TOKENIZER)
        return self.peer_of(preset, {**networks, TOKENIZER: tokenizer})

    def _components(
        self,
        preset: Preset,
        text: "LanguageText",
        vae: "nn.Module",
        denoiser: "WholeDenoiser",
        *,
        fingerprint: str,
        execution_device: "torch.device | None" = None,
    ) -> Components:
        from swiftpie.backbones.choices import schedule_of

        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            image_encoder=None,
            autoencoder=self.autoencoder_of(vae),
            denoiser=denoiser,
            inversion=None,
            fingerprint=fingerprint,
            execution_device=execution_device,
        )

    def _check_choices(self, preset: Preset, choices: Choices) -> None:
        """Refuse choices about adapters, of which there are none."""
        made = {name for name, value in choices.items() if value not in (None, AUTO, False)}
        if refused := sorted(made - CHOICES - IDLE_CHOICES):
            raise ConfigError(
                f"Preset {preset.name!r} takes no `{refused[0]}=`, because {self.why_no_others}. "
                "Leave it out."
            )
        if choices.get("detail") not in {None, "joint", "none"}:
            raise ConfigError(
                f"`detail={choices.get('detail')!r}` does not exist for preset {preset.name!r}, "
                "for which there are no adapters. Choose joint or none."
            )

    def _check_parts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of `text_config`
    ) -> None:
        """Refuse networks that do not belong together."""
        name = "U-Net" if self.denoiser_name == "unet" else self.denoiser_name
        parts = {
            name: (denoiser, self.denoiser_class),
            "autoencoder": (vae, self.autoencoder_class),
        }
        facts = {
            f"class of the {part}": (settings.get("_class_name"), kind)
            for part, (settings, kind) in parts.items()
        }
        self.check_facts(preset, {**facts, **self.facts(preset, denoiser, vae, text)})
