"""Who is compared at full size: SwiftPie, diffusers' own pipeline, and its modules in OpenVINO."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

import swiftpie
from benchmarks._machine import TOGETHER, Round, timed, with_engine
from benchmarks._models import (
    ADAPTER,
    PRESETS,
    REHEARSAL,
    TINY_DECODER,
    WITHOUT_ADAPTER,
    Scene,
    prompt,
)
from swiftpie.backbones.components import Components
from swiftpie.engine.graphs.cache import GraphCache, GraphStore
from swiftpie.engine.graphs.runtime import Function
from swiftpie.engine.openvino import to_openvino
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import OPENVINO, transform
from swiftpie.engine.wrappers import JoinedAutoencoder, shared_copy
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.pipelines.chord import SCHEDULES
from swiftpie.pipelines.methods.chord import ChordForm
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.types import Identity

FULL, TINY, BOTH_TINY = "full", "tiny", "tiny-both"  # decoders; the last one encodes too
INVERSION_TIMESTEP = 500  # that SwiftEdit's inversion network reads
FIRST_TIMESTEP = 999
QUANTIZED = "openvino-int8"
WITHOUT_SUBJECT = Scales(identity_scale=0.0, detail_scale=0.0)
MASK_THRESHOLD = 0.5  # of the difference of two noises; what it finds costs the same


def load(scene: Scene) -> Components:
    """Return our networks, plain ones."""
    pipeline = scene.folder / "pipeline"
    session = swiftpie.load(
        PRESETS["sd21" if scene.family == REHEARSAL else scene.family],
        device=str(scene.device),
        dtype=scene.dtype,
        weights=pipeline,
        adapter=scene.folder / ADAPTER if scene.has_adapter else None,
        image_encoder=scene.folder / "image_encoder" if scene.has_adapter else None,
        inversion=pipeline / "unet" if scene.inverts else None,
        offline=True,
    )
    return session.components


def tiny_decoder(scene: Scene) -> Any:  # noqa: ANN401 - not annotated
    """Return a network of TAESD's shape."""
    return read(AutoencoderTiny, scene, TINY_DECODER, scene.dtype).to(scene.device).eval()


def autoencoders_of(components: Components, engine: str, scene: Scene) -> dict[str, Components]:
    """Return components of one engine with the full decoder and with the tiny one.

    Where pictures are read, also with the tiny one as encoder. All share all other networks, so
    that these are compiled, and held, once. Some have no other than the tiny one.
    """
    if components.family.tiny_autoencoder is None:
        return {TINY: _with_engine(components, engine, scene)}
    tiny = LatentAutoencoder(tiny_decoder(scene))
    kinds = {FULL: components.autoencoder, TINY: JoinedAutoencoder(components.autoencoder, tiny)}
    if scene.can_edit or scene.is_plain:
        kinds[BOTH_TINY] = tiny
    made = {
        name: _with_engine(replace(components, autoencoder=autoencoder), engine, scene)
        for name, autoencoder in kinds.items()
    }
    full = made[FULL]
    return {name: replace(full, autoencoder=variant.autoencoder) for name, variant in made.items()}


def _with_engine(components: Components, engine: str, scene: Scene) -> Components:
    """Return components of one engine, with OpenVINO computing in the precision of `scene`."""
    names = engine.split(TOGETHER)
    others = [name for name in names if not name.startswith(OPENVINO)]
    if scene.precision is None or others == names:
        return with_engine(components, engine)
    return to_openvino(
        transform(components, others), quantizes=QUANTIZED in names, precision=scene.precision
    )


@dataclass(frozen=True, eq=False)
class Ours:
    """What SwiftPie's users call; a new session each time, so that only the identity is known."""

    components: Components
    identity: Identity
    scene: Scene

    def personalize(self, number: int) -> Round:
        """Draw the subject once, with a prompt that was not encoded before."""
        session = Session(self.components)
        sample, _ = timed(
            lambda: session.personalize(
                self.identity,
                prompt(number),
                seed=number,
                num_images=self.scene.num_images,
                size=(self.scene.side_px, self.scene.side_px),
            ),
            self.scene.device,
        )
        return {"personalize": sample}

    def generate(self, number: int) -> Round:
        """Draw from text alone, with a prompt that was not encoded before."""
        session = Session(self.components)
        is_kept = bool(self.identity.keys)  # else a silent subject would be encoded each time
        sample, _ = timed(
            lambda: session.personalize(
                self.identity if is_kept else (),
                prompt(number),
                seed=number,
                num_images=self.scene.num_images,
                size=(self.scene.side_px, self.scene.side_px),
                scales=WITHOUT_SUBJECT if is_kept else Scales(),
            ),
            self.scene.device,
        )
        return {"generate": sample}

    def edit(self, number: int) -> Round:
        """Edit a picture that was never seen, and the same once more with another prompt."""
        session, found = Session(self.components), {}
        picture = self.scene.picture(number)
        settings = EditSettings(size_px=self.scene.side_px)
        for ahead, operation in enumerate(("edit", "second_edit"), start=1):
            change = partial(
                session.edit,
                picture,
                prompt(number, ahead=ahead),
                source_prompt=prompt(number),
                seed=number,
                settings=settings,
            )
            found[operation], _ = timed(change, self.scene.device)
        return found


class Pipeline(NamedTuple):
    """What draws, and what inverts."""

    drawing: Any  # diffusers' pipeline
    inversion: Any  # a U-Net without adapter


class Step(NamedTuple):
    """How much of picture and noise is in the latents of the first step."""

    alpha: float
    sigma: float

    def clean(self, latents: Tensor, predicted: Tensor) -> Tensor:
        """Return the clean latents where `predicted` is the noise in `latents`."""
        return (latents - self.sigma * predicted) / self.alpha


def pipeline_of(scene: Scene, *, dtype: torch.dtype) -> Pipeline:
    """Return diffusers' pipeline around the model of `scene`, with its IP-Adapter if it has one.

    The inversion network is a second U-Net; random weights need not be in memory twice for it.
    """
    folder = scene.folder / "pipeline"
    is_sdxl = scene.family == "sdxl"
    autoencoder = AutoencoderTiny if scene.family in WITHOUT_ADAPTER else AutoencoderKL
    parts = {
        "vae": read(autoencoder, scene, "pipeline/vae", dtype),
        "unet": read(UNet2DConditionModel, scene, "pipeline/unet", dtype),
        "text_encoder": read(CLIPTextModel, scene, "pipeline/text_encoder", dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "feature_extractor": None,
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        ),
    }
    if scene.family not in WITHOUT_ADAPTER:
        tower = read(CLIPVisionModelWithProjection, scene, "image_encoder", dtype)
        side = tower.config.image_size
        parts["image_encoder"] = tower
        parts["feature_extractor"] = CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    if is_sdxl:
        parts["text_encoder_2"] = read(
            CLIPTextModelWithProjection, scene, "pipeline/text_encoder_2", dtype
        )
        parts["tokenizer_2"] = CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
        pipeline = StableDiffusionXLPipeline(**parts)
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, requires_safety_checker=False
        )
    inversion = shared_copy(parts["unet"]).to(scene.device)
    if scene.has_adapter:
        pipeline.load_ip_adapter(
            str(scene.folder), subfolder="", weight_name=ADAPTER, image_encoder_folder=None
        )
    pipeline.set_progress_bar_config(disable=True)
    return Pipeline(pipeline.to(scene.device), inversion)


def read(kind: Any, scene: Scene, name: str, dtype: torch.dtype) -> Any:  # noqa: ANN401 - any network
    """Return one network, from whichever variant of its file is there."""
    folder = scene.folder / name
    is_half = any(folder.glob("*.fp16.safetensors"))
    return kind.from_pretrained(
        folder, torch_dtype=dtype, variant="fp16" if is_half else None, local_files_only=True
    )


@dataclass(frozen=True, eq=False)
class DiffusersPersonalizing:
    """The pipeline as its documentation calls it."""

    pipeline: Any
    scene: Scene

    def __call__(self, number: int) -> Round:
        """Draw the subject once."""
        adapter = {"ip_adapter_image": self.scene.on_white} if self.scene.has_adapter else {}
        sample, _ = timed(
            lambda: self.pipeline(
                prompt(number),
                num_inference_steps=1,
                guidance_scale=0.0,
                num_images_per_prompt=self.scene.num_images,
                height=self.scene.side_px,
                width=self.scene.side_px,
                generator=torch.Generator().manual_seed(number),
                **adapter,
            ),
            self.scene.device,
        )
        return {self.scene.drawing: sample}


class Modules(NamedTuple):
    """A pipeline's networks as functions, in PyTorch or in OpenVINO; nothing is kept for later."""

    pipeline: Any  # diffusers', which reads and writes pictures
    text: Callable[[list[str]], Tensor]
    look: Callable[[Image.Image], tuple[Tensor, ...]]  # what the adapter reads of a picture
    encode: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor, Tensor], Tensor]  # latents and text to the noise behind them
    predict: Callable[..., Tensor]  # of latents, a timestep, text and what the adapter reads
    decode: Callable[[Tensor], Tensor]

    def latents(self, scene: Scene, number: int) -> Tensor:
        """Return those of the picture of a round."""
        side, picture = scene.side_px, scene.picture(number)
        pixels = self.pipeline.image_processor.preprocess(picture, height=side, width=side)
        return self.encode(pixels.to(scene.device))

    def picture(self, latents: Tensor) -> Image.Image:
        """Return the picture of clean latents."""
        decoded = self.decode(latents).float()
        return self.pipeline.image_processor.postprocess(decoded)[0]


def plain_modules(networks: Pipeline, scene: Scene) -> Modules:
    """Return the modules as diffusers calls them."""
    pipe, device = networks.drawing, scene.device
    return Modules(
        pipe,
        text=lambda prompts: pipe.encode_prompt(prompts, device, 1, False)[0],
        look=lambda seen: pipe.prepare_ip_adapter_image_embeds(seen, None, device, 1, False),
        encode=lambda pixels: _encode(pipe.vae, pixels)[0],
        invert=lambda latents, text: networks.inversion(latents, INVERSION_TIMESTEP, text).sample,
        predict=lambda *call: _predict(pipe.unet, *call)[0],
        decode=lambda latents: _decode(pipe.vae, latents)[0],
    )


@dataclass(frozen=True, eq=False)
class Editing:
    """SwiftEdit out of a pipeline's modules: two inversions in one batch, then one generation."""

    modules: Modules
    scene: Scene

    def __call__(self, number: int) -> Round:
        """Edit a picture once; nothing is kept for later."""
        sample, _ = timed(lambda: self.edit(number), self.scene.device)
        return {"edit": sample}

    @torch.no_grad()
    def edit(self, number: int) -> Image.Image:
        """Return the edited picture."""
        nets, latents = self.modules, self.modules.latents(self.scene, number)
        text = nets.text([prompt(number), prompt(number, ahead=1)])
        source, target = nets.invert(latents.expand(2, -1, -1, -1), text).split(1)
        step = first_step(nets.pipeline.scheduler)
        start = step.alpha * latents + step.sigma * source
        features = nets.look(self.scene.picture(number))
        predicted = nets.predict(start, torch.tensor(FIRST_TIMESTEP), text[1:], *features)
        clean = step.clean(start, predicted)
        changed = ((target - source).abs().mean(1, keepdim=True) > MASK_THRESHOLD).to(clean)
        return nets.picture(torch.lerp(latents.to(clean), clean, changed))


def first_step(scheduler: EulerDiscreteScheduler) -> Step:
    """Return the factors of the noisiest timestep."""
    kept = float(scheduler.alphas_cumprod[-1])
    return Step(alpha=kept**0.5, sigma=(1 - kept) ** 0.5)


@dataclass(frozen=True, eq=False)
class Networks:
    """A pipeline's networks as functions of plain tensors, and what comes before and after them.

    They are exported, compiled and called just as SwiftPie's own networks are, and nothing is kept
    between calls, so that only what is computed differs.
    """

    pipeline: Any
    graphs: GraphCache
    functions: dict[str, Function]  # encoders and decoders by the names of both

    def modules(self, decoder: str) -> Modules:
        """Return them with one of the decoders; `BOTH_TINY` encodes by the tiny one too."""
        pipe, functions = self.pipeline, self.functions

        def call(name: str, *tensors: Tensor) -> Tensor:
            return self.graphs.call(functions[name], *tensors)[0]

        def look(picture: Image.Image) -> tuple[Tensor, ...]:
            if "image" not in functions:
                return ()
            seen = pipe.feature_extractor(picture, return_tensors="pt")
            return (call("image", seen.pixel_values),)

        def text(prompts: list[str]) -> Tensor:
            read = pipe.tokenizer(
                prompts, padding="max_length", truncation=True, return_tensors="pt"
            )
            return call("text", read.input_ids)

        reads = TINY if decoder == BOTH_TINY else FULL
        kind = FULL if decoder == FULL else TINY
        return Modules(
            *(pipe, text, look),
            encode=partial(call, f"{reads}_encoder"),
            invert=partial(call, "inversion"),
            predict=partial(call, "unet"),
            decode=partial(call, f"{kind}_decoder"),
        )


def networks_of(scene: Scene, folder: Path) -> Networks:
    """Return the model of `scene`, to be exported into the `folder` at its first call."""
    pipeline, inversion = pipeline_of(scene, dtype=scene.dtype)
    autoencoders = {TINY: pipeline.vae}  # where it is the only one
    if scene.family not in WITHOUT_ADAPTER:
        autoencoders = {FULL: pipeline.vae, TINY: tiny_decoder(scene)}
    made = partial(Function, weights=str(scene))  # the folder holds graphs of this model alone
    functions = {
        "text": made("text", pipeline.text_encoder, compute=_text),
        "unet": made("unet", pipeline.unet, compute=_predict),
        "inversion": made("inversion", inversion, compute=_invert),
    }
    if scene.has_adapter:
        functions["image"] = made("image", pipeline.image_encoder, compute=_image)
    for name, network in autoencoders.items():
        functions[f"{name}_encoder"] = made(f"{name}_encoder", network, compute=_encode)
        functions[f"{name}_decoder"] = made(f"{name}_decoder", network, compute=_decode)
    graphs = GraphCache(GraphStore(folder), settings="peer", precision=scene.precision)
    return Networks(pipeline, graphs, functions)


def without_weights(networks: Networks) -> None:
    """Forget the weights in torch, which only exporting needs; all graphs have to be there."""
    for function in networks.functions.values():
        function.network.to("meta")


@dataclass(frozen=True, eq=False)
class Personalizing:
    """One picture from a prompt and a reference, both read at every call."""

    modules: Modules
    scene: Scene

    def __call__(self, number: int) -> Round:
        """Draw the subject once."""
        sample, _ = timed(lambda: self.draw(number), self.scene.device)
        return {self.scene.drawing: sample}

    @torch.no_grad()
    def draw(self, number: int) -> Image.Image:
        """Return the picture."""
        nets, scene = self.modules, self.scene
        text, features = nets.text([prompt(number)]), nets.look(scene.on_white)
        side = scene.side_px // nets.pipeline.vae_scale_factor
        noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(number))
        predicted = nets.predict(noise, torch.tensor(FIRST_TIMESTEP), text, *features)
        return nets.picture(first_step(nets.pipeline.scheduler).clean(noise, predicted))


def _text(encoder: Any, tokens: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (encoder(input_ids=tokens).last_hidden_state,)


def _image(encoder: Any, pixels: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (encoder(pixels.to(encoder.dtype)).image_embeds[:, None],)


def _invert(unet: Any, latents: Tensor, text: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (unet(latents.to(unet.dtype), INVERSION_TIMESTEP, text.to(unet.dtype)).sample,)


def _predict(
    unet: Any,  # noqa: ANN401 - not annotated
    latents: Tensor,
    timestep: Tensor,
    text: Tensor,
    *features: Tensor,
) -> tuple[Tensor, ...]:
    dtype = unet.dtype
    added = {"image_embeds": [feature.to(dtype) for feature in features]}
    return (unet(latents.to(dtype), timestep, text.to(dtype), added_cond_kwargs=added).sample,)


def _encode(vae: Any, pixels: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    found = vae.encode(pixels.to(vae.dtype))
    latents = found.latents if isinstance(vae, AutoencoderTiny) else found.latent_dist.mode()
    return (latents * vae.config.scaling_factor,)


def _decode(vae: Any, latents: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - not annotated
    return (vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample,)


CHORD = "chord"
FORMS = (ChordForm.FAST, ChordForm.CHORD)
TIMESTEPS = 1000


@dataclass(frozen=True, eq=False)
class OursByChord:
    """What SwiftPie's users call; a new session each time, so that nothing is known before."""

    components: Components
    scene: Scene
    form: ChordForm

    def __call__(self, number: int) -> Round:
        """Edit a picture that was never seen, in the region where the prompts differ."""
        side_px = self.scene.side_px
        settings = EditSettings(method="chord", chord=self.form, size_px=side_px)
        sample, _ = timed(
            lambda: Session(self.components).edit(
                self.scene.picture(number),
                prompt(number, ahead=1),
                source_prompt=prompt(number),
                seed=number,
                settings=settings,
            ),
            self.scene.device,
        )
        return {CHORD: sample}


@dataclass(frozen=True, eq=False)
class PlainChord:
    """The method out of a pipeline's modules: one pass of the U-Net after the other, no mask."""

    modules: Modules
    scene: Scene
    form: ChordForm

    def __call__(self, number: int) -> Round:
        """Edit a picture once."""
        sample, _ = timed(lambda: self.edit(number), self.scene.device)
        return {CHORD: sample}

    @torch.no_grad()
    def edit(self, number: int) -> Image.Image:
        """Return the edited picture."""
        nets, latents = self.modules, self.modules.latents(self.scene, number)
        text = nets.text([prompt(number), prompt(number, ahead=1)])
        random = torch.Generator().manual_seed(number)
        noise = torch.randn(latents.shape, generator=random).to(latents)
        course = SCHEDULES[self.form]

        def clean(latents: Tensor, time: float, row: int) -> Tensor:
            timestep = round((TIMESTEPS - 1) * time)
            kept = nets.pipeline.scheduler.alphas_cumprod[timestep]
            alpha, sigma = float(kept.sqrt()), float((1 - kept).sqrt())
            noisy = alpha * latents + sigma * noise
            predicted = nets.predict(noisy, torch.tensor(timestep), text[row : row + 1])
            return (noisy - sigma * predicted) / alpha

        moved = latents
        for time, weight in zip(course.times, course.weights, strict=True):
            moved = moved + weight * (clean(latents, time, 1) - clean(latents, time, 0))
        if course.refined_at is not None:
            moved = clean(moved, course.refined_at, 1)
        return nets.picture(moved)
