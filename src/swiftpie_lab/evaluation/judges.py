"""Networks that judge: of rendered scenes those inside the package, else files of the user's."""

import importlib.resources
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    CLIPModel,
    PreTrainedTokenizerBase,
    Siglip2Model,
    ViTModel,
)

from swiftpie.config import Option
from swiftpie.errors import WeightsError, short_reason
from swiftpie.faces import FaceEncoder
from swiftpie.models.vision import CLIP_MEAN, CLIP_STD
from swiftpie.registry import Registry
from swiftpie_lab.evaluation.posing import find_pose
from swiftpie_lab.judges import (
    WHOLE_PX,
    PictureReader,
    SubjectEmbedder,
    close_and_around,
    cut,
    load_judges,
    shrink,
    subject_crops,
)
from swiftpie_world.captions import CLOSE_QUESTIONS, NONE, QUESTIONS, WHOLE_QUESTIONS

logger = logging.getLogger(__name__)

DINO_SIDE_PX, DINO_MAX_PX = 224, 480  # the shorter side and the limit of the longer one
DINO_RESIZED_PX = 256  # the shorter side of a picture whose middle is seen as a whole
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MAX_PATCHES = 1024  # limit of a picture, as in MaSC's own figures (arXiv:2605.22469)
TINY = 1e-8

PUBLISHED = {  # by field of `Networks`: title, kind as transformers has it, patch in px and width
    "clip": ("CLIP ViT-L/14", "clip", (14, 1024)),
    "clip_small": ("CLIP ViT-B/32", "clip", (32, 768)),
    "dino": ("DINO ViT-B/8", "vit", (8, 768)),
    "dino_small": ("DINO ViT-S/16", "vit", (16, 384)),
    "siglip2": ("SigLIP2 SO400M NaFlex", "siglip2", (16, 1152)),
}
MODELS: Mapping[str, Any] = {"clip": CLIPModel, "vit": ViTModel, "siglip2": Siglip2Model}
NEEDED: Mapping[str, str] = {  # by field of `Networks`
    **{
        name: f"needs {title}; give its folder with --{name.replace('_', '-')} DIR"
        for name, (title, _, _) in PUBLISHED.items()
    },
    "face_judge": "needs another face encoder; name it with --judge, its files with --judge-models",
}


@dataclass(frozen=True)
class JudgeReading:
    """What a picture of the larger world shows, as its judges see it."""

    subject: str  # code of the nearest one
    answers: Mapping[str, str]  # by question; no pose unless it was looked for
    view: tuple[float, float] | None = None  # yaw and pitch in degrees, found with the pose


@dataclass(frozen=True, eq=False)
class Panel:
    """The judges, with the gallery of all subjects they choose from."""

    embedder: SubjectEmbedder
    reader: PictureReader
    codes: tuple[str, ...]  # the subject behind each row of the gallery
    gallery: Tensor  # (S, D) unit vectors

    @torch.no_grad()
    def nearest(self, pixels: Tensor, mask: Tensor) -> str:
        """Return the code of the subject seen in `pixels` (1, 3, H, W) around `mask`."""
        return self._nearest(cut(pixels, subject_crops(mask)))

    @torch.no_grad()
    def likeness(self, pixels: Tensor, mask: Tensor) -> dict[str, float]:
        """Return by code the cosine of every subject and what `pixels` show around `mask`."""
        vector = self.embedder(cut(pixels, subject_crops(mask)))
        return dict(zip(self.codes, (vector @ self.gallery.T)[0].tolist(), strict=True))

    @torch.no_grad()
    def read(
        self, pixels: Tensor, mask: Tensor, reference: Tensor, *, finds_pose: bool = True
    ) -> JudgeReading:
        """Return what `pixels` (1, 3, H, W) show.

        Args:
            pixels: The picture, in [-1, 1].
            mask: Where the subject and what it wears should be, (1, 1, H, W).
            reference: The subject before any change, premultiplied, (1, 4, H, W) in
                [0, 1].
            finds_pose: Look for pose and view, which takes a second and needs an unchanged subject.
        """
        crops, colours = subject_crops(mask), 2 * reference[:, :3] - reference[:, 3:]
        close = close_and_around(pixels, crops)
        said = self.reader(shrink(pixels, WHOLE_PX), close, shrink(colours))
        answers = {name: QUESTIONS[name][int(logits.argmax())] for name, logits in said.items()}
        subject = self._nearest(cut(pixels, crops))
        if not finds_pose:
            return JudgeReading(subject, answers)
        seen = find_pose(pixels, mask, reference)
        pose = answers["jump"] if seen.name == NONE else seen.name
        return JudgeReading(subject, {**answers, "pose": pose}, seen.view)

    def _nearest(self, close: Tensor) -> str:
        return self.codes[int((self.embedder(close) @ self.gallery.T).argmax())]


def load_panel(
    codes: Sequence[str], gallery: Iterable[tuple[Tensor, Tensor]], *, folder: Path | None = None
) -> Panel:
    """Read the judges; show them pictures (V, 3, H, W) in [-1, 1] of each of `codes`, and masks."""
    with nullcontext(folder) if folder is not None else _shipped() as place:
        embedder, reader = load_judges(place, WHOLE_QUESTIONS, CLOSE_QUESTIONS)
    for judge in (embedder, reader):
        judge.eval().requires_grad_(False)
    with torch.no_grad():
        vectors = [embedder(cut(views, subject_crops(mask))) for views, mask in gallery]
    # One unit vector a subject (S, D) of those of its views (S, V, D).
    known = F.normalize(torch.stack(vectors).mean(dim=1), dim=1)
    return Panel(embedder, reader, tuple(codes), known)


def shipped_embedder() -> SubjectEmbedder:
    """Read the judge of subjects inside the package, in full precision."""
    with _shipped() as place:
        embedder, _ = load_judges(place, WHOLE_QUESTIONS, CLOSE_QUESTIONS)
    return embedder.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True, eq=False)
class Clip:
    """Pictures and words as vectors of length 1."""

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the vector (1, D) of the middle square of a picture."""
        side = self.model.config.to_dict()["vision_config"]["image_size"]
        pixels = clip_pixels(image, side_px=side)
        hidden = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(hidden), dim=-1)

    @torch.no_grad()
    def words(self, text: str) -> Tensor:
        """Return the vector (1, D) of a text; what is too long is cut off."""
        length = self.model.config.to_dict()["text_config"]["max_position_embeddings"]
        tokens = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=length)
        hidden = self.model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return F.normalize(self.model.text_projection(hidden), dim=-1)

    def similarity(self, image: Image.Image, text: str) -> float:
        """Return their cosine, -1 to 1."""
        return float((self.picture(image) * self.words(text)).sum())


@dataclass(frozen=True, eq=False)
class SubjectJudge:
    """The package's judge of subjects, as a network that looks at square pictures."""

    embedder: SubjectEmbedder

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the vector (1, D) of a whole picture, shrunk to 64 px a side."""
        return self.embedder(shrink(_planes(image.convert("RGB")) / 127.5 - 1))


@dataclass(frozen=True, eq=False)
class Dino:
    """Pictures as vectors, and the distance of their structure: how parts resemble each other."""

    model: ViTModel

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the unit vector (1, D) of the class token, as DreamBooth's score reads it.

        The shorter side becomes 256 px, of which the middle 224 are seen.
        """
        pixels = _middle_square(image, side_px=DINO_SIDE_PX, resized_px=DINO_RESIZED_PX)
        values = _normalise(pixels, IMAGENET_MEAN, IMAGENET_STD)
        return F.normalize(self.model(pixel_values=values).last_hidden_state[:, 0], dim=-1)

    def distance(self, first: Image.Image, second: Image.Image) -> float:
        """Return the mean squared difference of their self-similarities."""
        return float(F.mse_loss(self._self_similarity(second), self._self_similarity(first)))

    @torch.no_grad()
    def _self_similarity(self, image: Image.Image) -> Tensor:
        """Return cosines (T, T) between the last block's keys, heads side by side."""
        keys: list[Tensor] = []
        # Releases of transformers name the layer that makes the keys differently.
        names = (".k_proj", ".key")
        layer = [part for name, part in self.model.named_modules() if name.endswith(names)][-1]
        handle = layer.register_forward_hook(lambda _layer, _inputs, output: keys.append(output))
        try:
            self.model(pixel_values=_for_dino(image), interpolate_pos_encoding=True)
        finally:
            handle.remove()
        tokens = keys[0][0]
        length = tokens.norm(dim=1, keepdim=True)
        similarity: Tensor = (tokens @ tokens.T) / (length @ length.T).clamp_min(TINY)
        return similarity


@dataclass(frozen=True, eq=False)
class Siglip2:
    """Patches, pools and words in one space."""

    model: Siglip2Model
    processor: BaseImageProcessor
    tokenizer: PreTrainedTokenizerBase

    @torch.no_grad()
    def picture(self, image: Image.Image) -> Tensor:
        """Return the patches (h, w, D) of a whole picture, which keeps its shape."""
        inputs = self.processor.preprocess(
            [image.convert("RGB")], max_num_patches=MAX_PATCHES, return_tensors="pt"
        )
        rows, columns = inputs["spatial_shapes"][0].tolist()
        # By position: releases of transformers call the second one differently.
        names = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
        hidden = self.model.vision_model(*(inputs[name] for name in names)).last_hidden_state
        patches: Tensor = hidden[0, : rows * columns].unflatten(0, (rows, columns))
        return patches

    @torch.no_grad()
    def pooled(self, patches: Tensor, keep: Tensor) -> Tensor:
        """Return the unit vector (1, D) that the trained pooling makes of `patches` (h, w, D).

        Those where `keep` (h, w) is true take part, at least one.
        """
        return F.normalize(self.model.vision_model.head(patches[keep][None]), dim=-1)

    @torch.no_grad()
    def words(self, text: str) -> Tensor:
        """Return the unit vector (1, D) of a text; what is too long is cut off.

        In small letters and padded to the full length, as the network was trained; the padding
        has no mask, and the last token speaks for all.
        """
        length = self.model.config.to_dict()["text_config"]["max_position_embeddings"]
        tokens = self.tokenizer(
            text.lower(),
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=length,
        )
        hidden = self.model.text_model(input_ids=tokens["input_ids"]).pooler_output
        return F.normalize(hidden, dim=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Networks:
    """What may judge; figures that need what is None are left out."""

    panel: Panel | None = None  # judges of rendered pictures
    clip: Clip | None = None
    clip_small: Clip | None = None
    dino: Dino | None = None
    dino_small: Dino | None = None
    siglip2: Siglip2 | None = None
    subjects: SubjectJudge | None = None  # judge of rendered sprites
    face_judge: FaceEncoder | None = None  # did not help to draw
    others: Mapping[str, Any] = field(default_factory=dict)  # by name in `JUDGES`
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256 by file of what users gave

    def lacks(self, name: str) -> str | None:
        """Return what would bring a network that is not given; None for one that is."""
        if (getattr(self, name, None) or self.others.get(name)) is not None:
            return None
        return NEEDED.get(name) or JUDGES.get(name.replace("_", "-")).needed


class Judge(NamedTuple):
    """A network of the user's that one file of metrics reads; its option is named after the file.

    `read` gets the path, the networks read before by name, and whether pickles are allowed.
    """

    option: Option
    needed: str  # what stands in reports for want of it
    read: Callable[..., object]


JUDGES: Registry[Judge] = Registry(
    package="swiftpie_lab.evaluation.metrics",
    attribute="JUDGE",
    family_attribute="JUDGES",
    entry_point_group="swiftpie.judges",
)


def load_judge(name: str, place: Path) -> Clip | Dino | Siglip2:
    """Read what a field of `Networks` holds from a folder of transformers.

    Another size than the figures are called by is taken with a warning.

    Raises:
        WeightsError: It is not in `place`.
    """
    title, kind, size = PUBLISHED[name]
    tokenizer: Any = None
    with _readable(place, title, kind=kind) as config:
        if kind != "vit":
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
        if kind == "siglip2":
            processor = AutoImageProcessor.from_pretrained(place, local_files_only=True)
        model: Any = MODELS[kind].from_pretrained(place, local_files_only=True)
    seen = getattr(config, "vision_config", config)
    if (seen.patch_size, seen.hidden_size) != size:
        logger.warning("'%s' is not %s; its figures cannot be compared.", place, title)
    model.float().eval().requires_grad_(requires_grad=False)
    if kind == "vit":
        return Dino(model)
    return Clip(model, tokenizer) if kind == "clip" else Siglip2(model, processor, tokenizer)


def _shipped() -> AbstractContextManager[Path]:
    return importlib.resources.as_file(importlib.resources.files("swiftpie_lab") / "assets/judges")


@contextmanager
def _readable(folder: Path, what: str, *, kind: str) -> Iterator[Any]:
    """Yield the network's configuration; WeightsError if `folder` does not hold it."""
    cause: Exception | None = None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type == kind:
            yield config
            return
        # Into another class transformers would read what fits, and leave the rest at random.
        reason = f"it holds a network of the kind '{config.model_type}', not '{kind}'"
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason, cause = short_reason(error), error
    raise WeightsError(
        f"'{folder}' cannot be read ({reason}). A folder with {what} as transformers saves it is "
        "needed. Check the path, or leave the option out."
    ) from cause


def clip_pixels(image: Image.Image, *, side_px: int) -> Tensor:
    """Return the middle square (1, 3, S, S) of a picture as networks trained like CLIP see it."""
    return _normalise(_middle_square(image, side_px=side_px), CLIP_MEAN, CLIP_STD)


def _middle_square(image: Image.Image, *, side_px: int, resized_px: int | None = None) -> Tensor:
    """Return the middle (1, 3, S, S) in [0, 1] once the shorter side has `resized_px`."""
    least = resized_px or side_px
    scale = least / min(image.size)
    size = (max(least, int(image.width * scale)), max(least, int(image.height * scale)))
    left, top = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    middle = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    middle = middle.crop((left, top, left + side_px, top + side_px))
    return _planes(middle) / 255


def _for_dino(image: Image.Image) -> Tensor:
    """Return pixels (1, 3, h, w) normalised without a division by 255, as the benchmark does."""
    shorter, longer = sorted(image.size)
    scale = min(DINO_SIDE_PX / shorter, DINO_MAX_PX / longer)
    size = [max(1, int(side * scale + TINY)) for side in (image.height, image.width)]
    planes = _planes(image.convert("RGB"))
    resized = F.interpolate(planes, size=size, mode="bilinear", antialias=True)
    return _normalise(resized, IMAGENET_MEAN, IMAGENET_STD)


def _planes(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[None]


def _normalise(
    values: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    middle, spread = (values.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (mean, std))
    return (values - middle) / spread
