"""Cases as any program can draw them: a pipeline of diffusers, or pictures that lie in a folder."""

import hashlib
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from swiftpie.backbones.load.weights import fingerprint_files
from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    ImageError,
    InputError,
    WeightsError,
    short_reason,
)
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import plane
from swiftpie.models.cutout import subject_mask
from swiftpie_lab.evaluation.run import FACTS, Benchmark, C, File, Maker

TIME = "time"  # the metric that needs to know how long an edit took
SUBJECT_MASK = "model-mask"  # where the subject of a drawn picture is
SAFE, PICKLES = ".safetensors", frozenset({".bin", ".ckpt", ".pt", ".pth"})
BY_INSTRUCTION = "image_guidance_scale"  # an argument that only pipelines for instructions have


class Ability(StrEnum):
    """What a program has to be able to do for a benchmark."""

    DRAW = "draws pictures from words"
    CHANGE = "changes a picture by words"
    FILL = "fills a part of a picture"


@dataclass(frozen=True, eq=False)
class ProgramTask:
    """A case as any program gets it."""

    prompt: str
    seed: int
    references: tuple[Image.Image, ...] = ()  # RGB, whole pictures of the subject
    source: Image.Image | None = None  # RGB, what is to be changed
    mask: Image.Image | None = None  # L, where it is to be changed
    instruction: str = ""  # what to do to the source, where the benchmark says it so
    size: tuple[int, int] | None = None  # that judges need; None takes any
    files: Mapping[str, File] = field(default_factory=lambda: MappingProxyType({}))  # by kind


class OpenBenchmark(Benchmark[C]):
    """A benchmark that programs besides SwiftPie can take part in."""

    needs: ClassVar[Ability] = Ability.DRAW
    shows_subject: ClassVar[bool] = True  # in pictures, which an adapter reads
    finds_subject: ClassVar[bool] = False  # cuts the subject out of what was drawn

    @abstractmethod
    def program_task(self, case: C) -> ProgramTask:
        """Return a case with all that is known of it before it is drawn."""

    @property
    def program_choices(self) -> tuple[str, ...]:
        """What reports have to tell of how cases are shown."""
        return ()

    def finished_name(self, case: C) -> str:
        """Return where a folder of finished pictures has that of a case."""
        return f"{case.name}.png"

    def as_drawn(self, picture: Image.Image, task: ProgramTask) -> Image.Image:
        """Return what counts of a finished picture."""
        del task
        return picture


class _Kind(NamedTuple):
    """Who can do something, and what makes such a pipeline of another one."""

    example: str
    maker: str


KINDS: Mapping[Ability, _Kind] = {
    Ability.DRAW: _Kind("StableDiffusionPipeline", "AutoPipelineForText2Image"),
    Ability.CHANGE: _Kind("StableDiffusionImg2ImgPipeline", "AutoPipelineForImage2Image"),
    Ability.FILL: _Kind("StableDiffusionInpaintPipeline", "AutoPipelineForInpainting"),
}


@dataclass(frozen=True, eq=False)
class ProgramDrawer(ABC, Generic[C]):
    """Draws cases by another program; nothing of SwiftPie is in its path."""

    benchmark: OpenBenchmark[C]

    is_timed: ClassVar[bool]  # it draws at once, so that the time it takes means something

    @property
    @abstractmethod
    def maker(self) -> Maker:
        """The program, and what it is shown."""

    @abstractmethod
    def picture(self, task: ProgramTask, *, name: str) -> Image.Image:
        """Return the picture of a case, whose finished picture has this `name`, in RGB."""

    def kinds(self, case: C) -> tuple[str, ...]:
        """Return the picture, where its subject is if that counts, and the time if that does."""
        del case
        is_timed = self.is_timed and TIME in self.benchmark.metrics
        more = (SUBJECT_MASK,) * self.benchmark.finds_subject + (FACTS,) * is_timed
        return (next(iter(self.benchmark.candidates)), *more)

    def draw(self, case: C, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield what is known, the picture, its subject's mask and the time.

        Raises:
            InputError: A finished picture has another size than judges need.
        """
        del missing
        judged, *more = self.kinds(case)
        task, name = self.benchmark.program_task(case), self.benchmark.finished_name(case)
        yield from task.files.items()
        started = time.perf_counter()
        picture = self.picture(task, name=name)
        took = 1000 * (time.perf_counter() - started)
        picture = self._of_right_size(self.benchmark.as_drawn(picture, task), task, name)
        yield judged, picture
        if SUBJECT_MASK in more:
            yield SUBJECT_MASK, _found_mask(picture)
        if FACTS in more:
            yield FACTS, {"total": took}

    def _of_right_size(self, picture: Image.Image, task: ProgramTask, name: str) -> Image.Image:
        if task.size is None or picture.size == task.size:
            return picture
        if not self.is_timed:
            raise InputError(
                f"'{name}' has {picture.size} px and the case {task.size}. Equal sizes are "
                "needed. Resize the picture."
            )
        return picture.resize(task.size, Image.Resampling.LANCZOS)


@dataclass(frozen=True, eq=False)
class FinishedPictures(ProgramDrawer[C]):
    """Pictures that another program has drawn already."""

    folder: Path
    cases: Sequence[C]  # all of them

    is_timed: ClassVar = False

    @property
    def maker(self) -> Maker:
        """The folder, by what its pictures are; what they were drawn from is not known.

        Raises:
            InputError: One is missing.
        """
        digest = hashlib.sha256()
        for case in self.cases:
            path = self.folder / self.benchmark.finished_name(case)
            if not path.is_file():
                raise InputError(
                    f"'{path}' is missing. Each case of the benchmark needs a picture. Draw it, "
                    "or choose fewer cases."
                )
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return Maker(f"pictures of {self.folder.name}", digest.hexdigest())

    def picture(self, task: ProgramTask, *, name: str) -> Image.Image:
        """Return the picture of this name.

        Raises:
            ImageError: It cannot be read.
        """
        del task
        return load_image(self.folder / name).convert("RGB")


@dataclass(frozen=True, eq=False)
class PipelineDrawer(ProgramDrawer[C]):
    """Draws with a pipeline of diffusers, and the keywords of each of its calls."""

    pipeline: DiffusionPipeline
    keywords: Mapping[str, Any]  # that the user chose; the pipeline has defaults for others
    has_adapter: bool  # that reads pictures; without one words alone draw
    program: Maker

    is_timed: ClassVar = True

    @property
    def maker(self) -> Maker:
        """The pipeline, and what it is shown."""
        name = ", ".join((self.program.name, *self.benchmark.program_choices))
        return self.program._replace(name=name)

    def picture(self, task: ProgramTask, *, name: str) -> Image.Image:
        """Return what the pipeline draws of a task, RGB.

        A picture to change, and its mask, are shown as large as the pipeline draws by itself.

        Raises:
            CapabilityError: The pipeline takes an instruction, and the task has none.
        """
        del name
        given: dict[str, Any] = {"prompt": task.prompt, **self.keywords}
        takes = _arguments(self.pipeline)
        if BY_INSTRUCTION in takes:
            given["prompt"] = task.instruction
            if not task.instruction:
                raise CapabilityError(
                    f"{type(self.pipeline).__name__} follows instructions, and this benchmark has "
                    "prompts alone. Use one that takes a prompt, such as "
                    f"{KINDS[Ability.CHANGE].example}."
                )
        if self.has_adapter:
            given["ip_adapter_image"] = [list(task.references)]
        for argument, image in (("image", task.source), ("mask_image", task.mask)):
            if argument in takes and image is not None:
                width, height = self._size_of(image)
                given[argument] = image.resize((width, height), Image.Resampling.LANCZOS)
                given |= {"width": width, "height": height} if "height" in takes else {}
        called: Any = self.pipeline
        drawn = called(generator=torch.Generator().manual_seed(task.seed), **given)
        picture: Image.Image = drawn.images[0]
        return picture.convert("RGB")

    def _size_of(self, image: Image.Image) -> tuple[int, int]:
        """Return the size at which the pipeline sees a picture, in whole cells of its latents."""
        pipeline: Any = self.pipeline
        cell = int(getattr(pipeline, "vae_scale_factor", 8))
        network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        side = getattr(getattr(network, "config", None), "sample_size", None)
        scale = cell * side / min(image.size) if isinstance(side, int) else 1
        width, height = (max(1, round(scale * length / cell)) * cell for length in image.size)
        return width, height


def load_pipeline(
    benchmark: OpenBenchmark[C],
    folder: Path,
    *,
    adapter: Path | None = None,
    image_encoder: Path | None = None,
    adapter_scale: float | None = None,
    keywords: Mapping[str, Any],
    needs: Collection[Ability] | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
) -> PipelineDrawer[C]:
    """Read a pipeline as diffusers saves it, and an IP-Adapter into it by diffusers' own loader.

    Args:
        benchmark: What it is to draw.
        folder: Of the pipeline.
        adapter: A file of an IP-Adapter.
        image_encoder: What the adapter reads pictures with, if the pipeline has none.
        adapter_scale: Its strength; by default diffusers' own.
        keywords: Of each call; what is None is left to the pipeline.
        needs: What the pipeline has to do; by default what the benchmark says.
        device: Where it draws.
        allow_pickle: Read weights from pickles of plain tensors.

    Raises:
        CapabilityError: The pipeline takes no IP-Adapter, or does something else.
        ConfigError: An image encoder or a scale came without an adapter, or a keyword that the
            pipeline does not know.
        WeightsError: Something cannot be read.
    """
    if adapter is None and (image_encoder is not None or adapter_scale is not None):
        raise ConfigError(
            "An image encoder or a scale came without --adapter, which reads pictures. Give both, "
            "or leave it out: words alone then draw."
        )
    _check_safe(adapter, allow_pickle=allow_pickle)
    chosen = {name: value for name, value in keywords.items() if value is not None}
    encoder: dict[str, Any] = {}
    try:
        if image_encoder is not None:
            encoder["image_encoder"] = CLIPVisionModelWithProjection.from_pretrained(
                image_encoder, local_files_only=True, use_safetensors=not allow_pickle or None
            )
        pipeline = DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=not allow_pickle or None, **encoder
        )
        _check_able(pipeline, needs or (benchmark.needs,), chosen)
        if adapter is not None:
            _add(pipeline, adapter, adapter_scale)
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{folder}' cannot be read as a pipeline ({short_reason(error)}). A folder that "
            "diffusers saved is needed, with --adapter FILE for its own loader and --image-encoder "
            "DIR where it has none. Check the paths."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    files = {"adapter": adapter} if adapter is not None else {}
    files |= _weights("pipeline", folder)
    files |= {} if image_encoder is None else _weights("encoder", image_encoder)
    settings = {**chosen} if adapter_scale is None else {**chosen, "adapter scale": adapter_scale}
    parts = [f"diffusers' {type(pipeline).__name__} of {folder.name}"]
    parts += [adapter.stem] if adapter is not None else ["words alone"]
    parts += [f"{name.replace('_', ' ')} {value:g}" for name, value in settings.items()]
    steps = chosen.get("num_inference_steps") or _default_steps(pipeline)
    name, weights = ", ".join(parts), fingerprint_files(files, settings="")
    maker = Maker(name, weights, steps)
    return PipelineDrawer(benchmark, pipeline.to(device), chosen, adapter is not None, maker)


def ability_of(pipeline: DiffusionPipeline) -> Ability:
    """Return what a pipeline does, by what its call takes."""
    takes = _arguments(pipeline)
    if "mask_image" in takes:
        return Ability.FILL
    return Ability.CHANGE if "image" in takes else Ability.DRAW


def _check_able(
    pipeline: DiffusionPipeline, needs: Collection[Ability], chosen: Mapping[str, Any]
) -> None:
    """Refuse a pipeline that does something else than the benchmark needs.

    Raises:
        CapabilityError: It is refused.
        ConfigError: Its call does not take a keyword that the user chose.
    """
    name, ability = type(pipeline).__name__, ability_of(pipeline)
    if ability not in needs:
        kinds = [KINDS[need] for need in needs]
        raise CapabilityError(
            f"{name} {ability}. This benchmark needs a pipeline that {' or '.join(needs)}, such as "
            f"{kinds[0].example}. diffusers' {kinds[0].maker}.from_pretrained(DIR)"
            ".save_pretrained(NEW) makes one of most pipelines."
        )
    if unknown := [keyword for keyword in chosen if keyword not in _arguments(pipeline)]:
        raise ConfigError(
            f"{name} takes no {unknown[0].replace('_', ' ')}. It was chosen by an option. Leave "
            "that out."
        )


def _arguments(pipeline: DiffusionPipeline) -> Collection[str]:
    return inspect.signature(type(pipeline).__call__).parameters


def _add(pipeline: Any, adapter: Path, scale: float | None) -> None:  # noqa: ANN401 - of any class
    """Load an adapter.

    Raises:
        CapabilityError: The pipeline takes none.
        ValueError: There is nothing that reads pictures.
    """
    if not hasattr(pipeline, "load_ip_adapter"):
        raise CapabilityError(
            f"{type(pipeline).__name__} takes no IP-Adapter. Leave --adapter out, or choose "
            "another pipeline."
        )
    if getattr(pipeline, "image_encoder", None) is None:
        raise ValueError("the adapter needs an image encoder")
    pipeline.load_ip_adapter(
        str(adapter.parent), subfolder="", weight_name=adapter.name, image_encoder_folder=None
    )
    if scale is not None:
        pipeline.set_ip_adapter_scale(scale)


def _check_safe(adapter: Path | None, *, allow_pickle: bool) -> None:
    """Refuse an adapter's file that is missing, or a pickle without `allow_pickle`.

    Raises:
        WeightsError: It is refused.
    """
    if adapter is None:
        return
    if not adapter.is_file():
        raise WeightsError(
            f"'{adapter}' is no file. The adapter of another program is a file on this machine, "
            "such as ip-adapter_sd15.safetensors. Check --adapter."
        )
    if adapter.suffix != SAFE and not allow_pickle:
        raise WeightsError(
            f"'{adapter}' is a pickle, which can run code. Give its .safetensors, or pass "
            "--allow-pickle to read plain tensors from it."
        )


def _weights(name: str, folder: Path) -> dict[str, Path]:
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path
        for path in folder.rglob("*")
        if path.suffix in {SAFE, *PICKLES} and path.is_file()
    }


def _default_steps(pipeline: DiffusionPipeline) -> int:
    given = inspect.signature(type(pipeline).__call__).parameters.get("num_inference_steps")
    return given.default if given is not None and isinstance(given.default, int) else 0


def _found_mask(picture: Image.Image) -> Tensor:
    """Return where the subject of another program's picture is; empty where none is found."""
    try:
        return subject_mask(picture)
    except ImageError:
        return plane(Image.new("L", picture.size))
