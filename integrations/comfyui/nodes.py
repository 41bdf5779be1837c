"""The nodes: each says what a call of SwiftPie takes, converts pictures, and makes that call.

Nodes keep nothing. What they return lives in ComfyUI's cache of outputs, so what frees that frees
our networks. An IMAGE is (B, H, W, C) and a MASK (B, H, W), both in [0, 1].
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io, ui
from PIL import Image
from torch import Tensor

import swiftpie
from swiftpie import (
    CONSENT,
    MAX_IMAGES,
    MAX_SEED,
    RECIPES,
    TASKS,
    AnimateRequest,
    EditRequest,
    EditResult,
    EditSettings,
    FaceSettings,
    FaceSource,
    GenerationResult,
    Identity,
    InputError,
    MaskSource,
    PersonalizeRequest,
    Scales,
    Session,
    Subject,
    bounding_box,
    change_of,
    check_box,
    cut_out,
    drawing_of,
    is_downloaded,
    load_mask,
    open_face_encoder,
    options_of,
    read_options,
    save_identity,
)

logger = logging.getLogger(__name__)

EMBEDDED = "mini"
MAX_SIDE_PX = 4096
CATEGORY = "SwiftPie"
STEP = 0.05  # of strengths
USUAL = Scales()  # leaves them to the recipe
AUTO = "auto"  # of choices that are left to the model
UNSET = (None, "", 0, AUTO, "plain")  # values of options that are left alone
ENDS = ("to", "to_boxes", "to_views")  # of an animation
CHANGES = [name for name, task in TASKS.items() if task.is_change]
TEXTS = (str | None, Path | None)  # of which ComfyUI has the empty text in place of None
SEED = {
    "default": 0,
    "max": MAX_SEED - MAX_IMAGES,  # the last picture of a batch has a seed as well
    "control_after_generate": True,
}

SessionType = io.Custom("SWIFTPIE_SESSION")
SubjectType = io.Custom("SWIFTPIE_SUBJECT")  # a tuple of `Subject`, so that nodes can add to it
BoxType = io.Custom("SWIFTPIE_BOX")
ScalesType = io.Custom("SWIFTPIE_SCALES")

Box = tuple[float, float, float, float]  # left, top, right and bottom in [0, 1]
Request = EditRequest | PersonalizeRequest
Subjects = tuple[Subject, ...]


class LoadRecipe(io.ComfyNode):
    """A session, on the device that ComfyUI computes on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SwiftPieLoadRecipe",
            display_name="Load SwiftPie recipe",
            category=CATEGORY,
            description="Loads the networks of a recipe. 'mini' is inside the package: 256 px.",
            inputs=[
                io.Combo.Input("recipe", options=[EMBEDDED, *RECIPES.names()], default=EMBEDDED),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip="Fetch what is missing, gigabytes for all but mini. Look first what "
                    "that is: swiftpie fetch NAME --dry-run",
                ),
                io.String.Input(
                    "engine",
                    default="",
                    advanced=True,
                    tooltip="What makes it quicker or smaller, as 'offload,tiny-decoder'; "
                    "'swiftpie engine' lists all.",
                ),
                io.String.Input(
                    "reference",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="A folder, or OWNER/REPO:FOLDER, with a U-Net that reads pictures of "
                    "the subject in place of the denoiser; for recipes with a detail branch.",
                ),
                *inputs_of(
                    FaceSettings,
                    encoder={"optional": True, "advanced": True},
                    face_models={"optional": True, "advanced": True},
                ),
            ],
            outputs=[SessionType.Output("session")],
        )

    @classmethod
    def execute(
        cls,
        recipe: str,
        *,
        download: bool,
        engine: str = "",
        reference: str = "",
        encoder: str = "",
        face_models: str = "",
    ) -> io.NodeOutput:
        """Load it; ComfyUI's own models make room on an accelerator first.

        Raises:
            InputError: It is not on this machine, and not to be fetched.
        """
        if not (recipe == EMBEDDED or download or is_downloaded(RECIPES.get(recipe))):
            raise InputError(
                f"Recipe {recipe!r} is not on this machine, or not whole. Look what it takes by "
                f"`swiftpie fetch {recipe} --dry-run`; then leave out `--dry-run`, or switch "
                "`download` on."
            )
        is_cpu = comfy.model_management.get_torch_device().type == "cpu"
        if not is_cpu:  # what is free decides whether networks have to take turns
            comfy.model_management.unload_all_models()
            comfy.model_management.soft_empty_cache()
        session = swiftpie.load(
            recipe=None if recipe == EMBEDDED else recipe,
            device="cpu" if is_cpu else "auto",
            engine=[name for word in engine.split(",") if (name := word.strip())],
            reference=reference or None,
            offline=not download,
        )
        own = None if recipe == EMBEDDED else RECIPES.get(recipe).face_encoder
        if encoder or face_models or own:
            folder = Path(face_models) if face_models else None
            faces = FaceSettings(encoder=encoder or own, face_models=folder)
            session = session.with_face_encoder(open_face_encoder(faces, offline=not download))
        return io.NodeOutput(session)


class EncodeIdentity(io.ComfyNode):
    """Pictures of one subject to a subject that can be drawn."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        number = options_of(FaceSource)["face_number"].option
        return io.Schema(
            node_id="SwiftPieEncodeIdentity",
            display_name="Encode identity",
            category=CATEGORY,
            description="Encodes one subject from 1 to 8 pictures, or by a name of the library, or "
            f"a person by the face, and shows what is seen. Of faces: {CONSENT}",
            inputs=[
                SessionType.Input("session"),
                io.Image.Input(
                    "image", optional=True, tooltip="A batch is several pictures of one subject."
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="1 is the subject, one mask a picture."
                ),
                _cutout_input(),
                _box_input("Where in the pictures to look for the subject."),
                io.String.Input(
                    "name",
                    default="",
                    optional=True,
                    tooltip="A subject of the library in place of a picture, as 'kitten'; "
                    "'swiftpie library' lists all.",
                ),
                io.Boolean.Input(
                    "face",
                    default=False,
                    optional=True,
                    tooltip="The picture is a photograph of a person, whose face is encoded, for "
                    "recipes that draw faces. In Edit the person comes where the picture has a "
                    "face.",
                ),
                io.Int.Input(
                    "face_number",
                    default=0,
                    min=0,
                    optional=True,
                    advanced=True,
                    tooltip=f"{number.help} 0 is the default.",
                ),
            ],
            outputs=[
                SubjectType.Output("subject"),
                io.Image.Output("seen", tooltip="The subject alone, as the encoders see it."),
            ],
        )

    @classmethod
    def execute(
        cls,
        session: Session,
        image: Tensor | None = None,
        cutout: str = "auto",
        mask: Tensor | None = None,
        box: Box | None = None,
        name: str = "",
        *,
        face: bool = False,
        face_number: int = 0,
    ) -> io.NodeOutput:
        """Encode it.

        Raises:
            InputError: Picture and name are given, or neither, or no subject or face is found.
        """
        if word := name.strip():
            if any(place is not None for place in (image, mask, box)):
                raise InputError(
                    f"The name {word!r} came with a picture, a mask or a box, and already is a "
                    "whole subject. Unlink them, or empty the name."
                )
            return _shown_subject(session.named(word), name=word)
        if image is None:
            raise InputError(
                "Neither a picture nor a name was given. Link a picture of the subject, or write a "
                "name of `swiftpie library`."
            )
        if face:
            return _shown_subject(_face_of(session, pictures_of(image[..., :3]), face_number))
        identity = session.encode_identity(
            pictures_of(image),
            masks=None if mask is None else masks_of(mask),
            cutout=_search(cutout, box),
        )
        return _shown_subject(identity)


class LoadIdentity(io.ComfyNode):
    """A subject from a file, encoded by the same networks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives; files are those there are now."""
        folder = Path(folder_paths.get_input_directory())
        return io.Schema(
            node_id="SwiftPieLoadIdentity",
            display_name="Load identity",
            category=CATEGORY,
            description="Reads a .spid file from ComfyUI's folder 'input'.",
            inputs=[
                SessionType.Input("session"),
                io.Combo.Input("file", options=sorted(path.name for path in folder.glob("*.spid"))),
            ],
            outputs=[SubjectType.Output("subject"), io.Image.Output("seen")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: object) -> str:
        """Return what changes when the file does."""
        return sha256(Path(folder_paths.get_annotated_filepath(file)).read_bytes()).hexdigest()

    @classmethod
    def execute(cls, session: Session, file: str) -> io.NodeOutput:
        """Read it."""
        return _shown_subject(session.load_identity(folder_paths.get_annotated_filepath(file)))


class SaveIdentity(io.ComfyNode):
    """A subject to a file, for later and for other ways to use SwiftPie."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes."""
        return io.Schema(
            node_id="SwiftPieSaveIdentity",
            display_name="Save identity",
            category=CATEGORY,
            description="Writes a .spid file into ComfyUI's folder 'output'. It holds the cut-out "
            "pictures.",
            is_output_node=True,
            inputs=[
                SubjectType.Input("subject"),
                io.String.Input("filename_prefix", default="swiftpie/subject"),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, subject: Subjects, filename_prefix: str) -> io.NodeOutput:
        """Write it; no file is replaced."""
        folder, name, counter, *_ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        path = Path(folder) / f"{name}_{counter:05}_.spid"
        save_identity(_only(subject).identity, path, force=False)
        return io.NodeOutput(ui=ui.PreviewText(str(path)))


class PlaceSubject(io.ComfyNode):
    """Where one subject shall stand and how strongly, and who is there besides."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SwiftPiePlaceSubject",
            display_name="Place subject",
            category=CATEGORY,
            description="Puts a subject into a box, and next to others: chain up to four.",
            inputs=[
                SubjectType.Input("subject"),
                SubjectType.Input(
                    "others", optional=True, tooltip="Further subjects of the same picture."
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the subject may act at all."),
                *inputs_of(Subject, name={}, scale={}, layers={"optional": True, "advanced": True}),
            ],
            outputs=[SubjectType.Output("subjects")],
        )

    @classmethod
    def execute(
        cls,
        subject: Subjects,
        name: str,
        scale: float,
        layers: str = "",
        others: Subjects = (),
        box: Box | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Add it to the others."""
        region = None if mask is None else _some(mask)[:1, None].float().cpu()
        one = _only(subject)
        placed = replace(
            one, box=box, mask=region, name=name or one.name, scale=scale, layers=layers
        )
        return io.NodeOutput((*(others or ()), placed))


class MakeBox(io.ComfyNode):
    """A box in shares of the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SwiftPieBox",
            display_name="Box",
            category=CATEGORY,
            description="A place in a picture: four shares of its width and height.",
            inputs=[
                _share_input("left", 0.25),
                _share_input("top", 0.25),
                _share_input("right", 0.75),
                _share_input("bottom", 0.75),
                io.Mask.Input(
                    "around",
                    optional=True,
                    tooltip="The box just around this mask, in place of the four numbers.",
                ),
            ],
            outputs=[BoxType.Output("box")],
        )

    @classmethod
    def execute(
        cls, left: float, top: float, right: float, bottom: float, around: Tensor | None = None
    ) -> io.NodeOutput:
        """Return left, top, right and bottom."""
        if around is not None:
            return io.NodeOutput(bounding_box(_some(around)[:1, None]))
        return io.NodeOutput(check_box((left, top, right, bottom)))


class MakeScales(io.ComfyNode):
    """Strengths, in place of the recipe's own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SwiftPieScales",
            display_name="Scales",
            category=CATEGORY,
            description="How strong subject and prompt are. Without it, the recipe's own strengths "
            "are used.",
            inputs=inputs_of(Scales),
            outputs=[ScalesType.Output("scales")],
        )

    @classmethod
    def execute(cls, **numbers: float) -> io.NodeOutput:
        """Return them as one value."""
        return io.NodeOutput(Scales(**numbers))


class Personalize(io.ComfyNode):
    """Subjects in a new scene, as pictures or as the frames of an animation."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        late = {"optional": True, "advanced": True}
        prompt, seed, *others = inputs_of(
            AnimateRequest,
            prompt={"multiline": True, "default": "a dog on a beach"},
            seeds={"tooltip": "Of the first picture; the next has the next seed.", **SEED},
            mask={"id": "region", "advanced": True},
            scene={"optional": True},
            identity_guidance={"optional": True},
            **dict.fromkeys(("style_scale", "flip", "tilt", *ENDS, "num_frames"), late),
        )
        return io.Schema(
            node_id="SwiftPiePersonalize",
            display_name="Personalize",
            category=CATEGORY,
            description="Draws the subjects into the scene of the prompt; 'mini' also draws those "
            "that it names, from the library. With `to`, `to_box` or `to_view` it draws the frames "
            "of an animation as a batch.",
            inputs=[
                SessionType.Input("session"),
                SubjectType.Input(
                    "subject", optional=True, tooltip="Without it, what the prompt says."
                ),
                prompt,
                seed,
                io.Int.Input("num_images", default=1, min=1, max=MAX_IMAGES),
                ScalesType.Input("scales", optional=True),
                *others,
                io.Image.Input(
                    "scene_image",
                    optional=True,
                    tooltip="A picture of the place in plain daylight, instead of a scene by name.",
                ),
                io.Image.Input(
                    "style_image", optional=True, tooltip="A picture in whose style all is drawn."
                ),
                _side_input("width"),
                _side_input("height"),
                _input_of(options_of(PersonalizeRequest)["best_of"], default=0, min=0, **late),
            ],
            outputs=[
                io.Image.Output("image"),
                io.Mask.Output("subject_mask", tooltip="Where the model drew the subjects."),
            ],
        )

    @classmethod
    def execute(
        cls,
        session: Session,
        prompt: str,
        seed: int,
        num_images: int,
        subject: Subjects = (),
        scales: Scales = USUAL,
        **given: Any,  # noqa: ANN401 - further inputs of the schema
    ) -> io.NodeOutput:
        """Draw the pictures one after the other, each of which is shown when it is finished.

        Raises:
            InputError: One side is given alone, no subject is named or given, or what is drawn
                does not go together.
        """
        moves = any(given.get(name, "").strip() for name in ("to", "to_box", "to_view"))
        if moves and num_images > 1:
            raise InputError(
                f"{num_images} pictures of an animation were wanted, whose frames have one seed. "
                "Set num_images to 1, and choose num_frames."
            )
        task = TASKS["animate" if moves else "personalize"]
        best_of = given.pop("best_of", 0) or None
        said = {"prompt": prompt, "scales": scales, "best_of": best_of}
        said |= drawing_fields(task.request, given)
        seeds = range(seed, seed + num_images)
        requests = [
            drawing_of(task, said, subjects=subject, seeds=each, folder=None)
            for each in ([seeds] if best_of else [(one,) for one in seeds])
        ]
        drawn = list(draw_each(session, requests))
        return io.NodeOutput(
            image_of([image for result in drawn for image in result.images]),
            image_of([mask for result in drawn for mask in result.subject_masks]),
            ui=_said(drawn),
        )


class Edit(io.ComfyNode):
    """Pictures changed by words or by a subject."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        prompt, source_prompt, seed, *others = inputs_of(
            EditRequest,
            prompt={"multiline": True, "default": "a dog in the snow"},
            source_prompt={"multiline": True},
            seed={"tooltip": "Of all that is random; the next picture has the next seed.", **SEED},
            keyword={"advanced": True},
            identity_guidance={"optional": True, "advanced": True},
            style_scale={"optional": True, "advanced": True},
            best_of={"optional": True, "advanced": True, "default": 0, "min": 0},
        )
        more = TASKS["replace"].options("comfyui")
        return io.Schema(
            node_id="SwiftPieEdit",
            display_name="Edit",
            category=CATEGORY,
            description="Changes pictures so that they fit the prompt, or puts a subject in, takes "
            "something out or replaces it, and shows where. Outside of that mask they stay as they "
            "are, bit for bit.",
            inputs=[
                SessionType.Input("session"),
                io.Image.Input("image"),
                prompt,
                source_prompt,
                seed,
                *inputs_of(EditSettings, variation={}, chord={"optional": True, "advanced": True}),
                *others,
                io.Mask.Input("mask", optional=True, tooltip="Where to change it, 1 = change."),
                _box_input("Where to change it, in place of a mask."),
                SubjectType.Input(
                    "subject",
                    optional=True,
                    tooltip="The subject that comes there. Without it, insertions by 'mini' take "
                    "the one that the prompt names from the library.",
                ),
                io.Combo.Input(
                    "task",
                    options=CHANGES,
                    default="edit",
                    optional=True,
                    tooltip=" ".join(f"{name}: {TASKS[name].about}" for name in CHANGES),
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="A picture in whose style the change is drawn, or a subject inserted.",
                ),
                _input_of(more["points"], optional=True, advanced=True),
                _input_of(more["keep_pose"], default=False, optional=True, advanced=True),
                ScalesType.Input("scales", optional=True),
            ],
            outputs=[
                io.Image.Output("image"),
                io.Mask.Output("mask", tooltip="Where the picture changed."),
            ],
        )

    @classmethod
    def execute(
        cls,
        session: Session,
        image: Tensor,
        prompt: str,
        source_prompt: str,
        seed: int,
        variation: float,
        mask: Tensor | None = None,
        box: Box | None = None,
        subject: Subjects | None = None,
        style_image: Tensor | None = None,
        task: str = "edit",
        scales: Scales = USUAL,
        **options: Any,  # noqa: ANN401 - further ones that tasks declare
    ) -> io.NodeOutput:
        """Change each picture of the batch.

        Raises:
            InputError: Mask and box are given, or what is drawn does not go together.
        """
        photos, known = pictures_of(image[..., :3]), TASKS[task].options("comfyui")
        options |= {"source_prompt": source_prompt, "variation": variation}
        if style_image is None:
            options.pop("style_scale", None)
        one = None if subject is None else _only(subject)
        if one is not None:
            options |= {"layers": one.layers} | ({"scale": one.scale} if one.scale != 1 else {})
        keys = {field.key for field in known.values()}
        idle = [name for name, value in options.items() if name not in keys and value not in UNSET]
        if idle:
            raise InputError(
                f"{idle[0]!r} has no effect on the task {task!r}. Empty it, or choose another task."
            )
        if one is not None and box is None and task == "insert":
            box = one.box
        said = _typed(known, {"prompt": prompt, **options, "box": box}) | scales.given
        if style_image is not None:
            said["style_reference"] = pictures_of(style_image)[0]
        source = None if one is None else one.source
        places = [None] * len(photos) if mask is None else _regions(mask, photos)
        requests = [
            change_of(
                TASKS[task], {**said, "mask": place}, image=photo, source=source, seed=seed + number
            )
            for number, (photo, place) in enumerate(zip(photos, places, strict=True))
        ]
        drawn = list(draw_each(session, requests))
        # ComfyUI's pictures may be finer than 8 bits; those of files come back as they were.
        changes = image_of([result.blend for result in drawn])[..., None] > 0
        edited = image_of([result.image for result in drawn])
        return io.NodeOutput(
            torch.where(changes, edited, image[..., :3].to(edited)),
            image_of([result.region for result in drawn]),
            ui=_said(drawn),
        )


class CutOut(io.ComfyNode):
    """The subject of each picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return what the node takes and gives."""
        return io.Schema(
            node_id="SwiftPieCutOut",
            display_name="Cut out",
            category=CATEGORY,
            description="Finds the one subject of each picture; needs no recipe.",
            inputs=[
                io.Image.Input("image"),
                _cutout_input(),
                _box_input("Where in the pictures to look for the subject."),
            ],
            outputs=[
                io.Image.Output("cut_out", tooltip="With transparency around the subject."),
                io.Mask.Output("mask", tooltip="1 is the subject."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, cutout: str, box: Box | None = None) -> io.NodeOutput:
        """Find them one after the other."""
        photos, found = pictures_of(image), []
        bar = comfy.utils.ProgressBar(len(photos))
        for photo in photos:
            comfy.model_management.throw_exception_if_processing_interrupted()
            found.append(cut_out(photo, _search(cutout, box)).mask[:, 0])
            bar.update(1)
        mask = torch.cat(found)
        cut = torch.cat([image[..., :3].to(mask), mask[..., None]], dim=-1)
        return io.NodeOutput(cut, mask, ui=ui.PreviewImage(cut, cls=cls))


class SwiftPieExtension(ComfyExtension):
    """All nodes of this folder."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return them in the order of a workflow."""
        return [
            LoadRecipe,
            EncodeIdentity,
            LoadIdentity,
            SaveIdentity,
            PlaceSubject,
            MakeBox,
            MakeScales,
            Personalize,
            Edit,
            CutOut,
        ]


async def comfy_entrypoint() -> SwiftPieExtension:
    """Return the nodes of this folder, as ComfyUI loads them."""
    return SwiftPieExtension()


def inputs_of(source: type, **hints: Mapping[str, Any]) -> list[io.Input]:
    """Return an input for each option that a class declares.

    Options with a hint come first. A hint is what ComfyUI shows in addition, such as
    `multiline`, or another `id` for the input.
    """
    options = options_of(source, "comfyui")
    names = dict.fromkeys([*hints, *options])
    return [_input_of(options[name], **hints.get(name, {})) for name in names]


def _typed(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as the class has them, for which ComfyUI has texts."""
    found: dict[str, Any] = {}
    for field in known.values():
        if field.key not in given:
            continue
        value, choice = given[field.key], _choice_of(field.type)
        if field.repeated:  # one a line
            found |= read_options({field.name: field}, {field.key: value}, is_text=True)
        else:
            found[field.name] = (
                value if choice is None else None if value == AUTO else choice(value)
            )
    return found


def _choice_of(kind: object) -> type[Enum] | None:
    """Return the class of an option with a few values, which may be left to the class."""
    kinds = [each for each in get_args(kind) or (kind,) if each is not NoneType]
    (only, *others) = kinds
    is_choice = isinstance(only, type) and issubclass(only, Enum)
    return only if is_choice and not others else None


def _input_of(field: Any, *, id: str = "", **hint: Any) -> io.Input:  # noqa: A002, ANN401 - as ComfyUI calls them
    name, limits = id or field.key, {"min": field.option.least, "max": field.option.most}
    shown = {"tooltip": field.option.help} | hint
    if field.default is not MISSING:
        shown = {"default": "" if field.typed in TEXTS else field.default} | shown
    if field.repeated:
        lines = {"multiline": True, "default": "", "tooltip": f"{field.option.help} One a line."}
        return io.String.Input(name, **shown | lines)
    choice = _choice_of(field.type)
    if choice is not None:
        values = [member.value for member in choice]
        if field.default is None:
            return io.Combo.Input(name, options=[AUTO, *values], **shown | {"default": AUTO})
        shown["default"] = field.default.value
        return io.Combo.Input(name, options=values, **shown)
    if field.typed is bool:
        return io.Boolean.Input(name, **shown)
    if field.typed is int:
        return io.Int.Input(name, **limits | shown)
    if field.typed is float:
        limits = {end: None if one is None else float(one) for end, one in limits.items()}
        return io.Float.Input(name, **{"step": STEP} | limits | shown)
    if field.typed is str or field.typed in TEXTS:
        return io.String.Input(name, **shown)
    assert field.type == Box | None, f"ComfyUI has no input for {field.name}: {field.type}"
    return _box_input(field.option.help)


def drawing_fields(source: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a request from the inputs of Personalize.

    Raises:
        InputError: One side is given alone.
    """
    options = dict(given)
    width, height = options.pop("width", 0), options.pop("height", 0)
    if (width == 0) != (height == 0):
        raise InputError(
            f"Width {width} and height {height} were given. Both are needed, or 0 for both, "
            "which is the recipe's own size."
        )
    pictures = {"scene_image": "scene", "style_image": "style_reference"}
    linked = {field: options.pop(name, None) for name, field in pictures.items()}
    region = options.pop("region", MaskSource.NONE.value)
    return {
        **_typed(options_of(source), options),
        **{name: pictures_of(image)[0] for name, image in linked.items() if image is not None},
        "mask": region,
        "size_px": (height, width) if width else None,
    }


def draw_each(
    session: Session, requests: Sequence[Request]
) -> Iterator[GenerationResult | EditResult]:
    """Draw requests one after the other: the bar moves by steps, and finished pictures are shown.

    If the user cancels, ComfyUI's exception ends it after the current step.
    """
    stop_if_cancelled = comfy.model_management.throw_exception_if_processing_interrupted
    bar = comfy.utils.ProgressBar(len(requests) * (len(session.components.schedule.steps) + 1))

    def on_stage(_: str) -> None:
        stop_if_cancelled()

    def on_step(_: int, __: float, latents: Tensor) -> Tensor:
        stop_if_cancelled()
        bar.update(1)
        return latents

    for request in requests:
        drawn = session.draw(request, on_stage=on_stage, on_step=on_step)
        finished = drawn.image if isinstance(drawn, EditResult) else drawn.images[0]
        bar.update_absolute(bar.current + 1, preview=("JPEG", finished, None))
        yield drawn


def pictures_of(image: Tensor) -> list[Image.Image]:
    """Return an IMAGE as pictures, RGB or RGBA as given."""
    values = image.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return [Image.fromarray(value) for value in values]


def masks_of(mask: Tensor) -> list[Image.Image]:
    """Return a MASK as pictures, white = 1."""
    values = _some(mask).float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return [Image.fromarray(value) for value in values]


def image_of(pictures: Sequence[Image.Image]) -> Tensor:
    """Return RGB pictures of one size as an IMAGE (B, H, W, 3), greyscale ones as (B, H, W)."""
    values = np.stack([np.array(picture, dtype=np.float32) for picture in pictures])
    return torch.from_numpy(values).div(255)


def _said(drawn: Sequence[GenerationResult | EditResult]) -> Any:  # noqa: ANN401 - of ComfyUI
    """Return the warnings of pictures as a node shows them; None without any."""
    warnings = dict.fromkeys(warning for result in drawn for warning in result.warnings)
    return ui.PreviewText("\n".join(warnings)) if warnings else None


def _shown_subject(identity: Identity, *, name: str = "") -> io.NodeOutput:
    seen = identity.pixels.float().cpu().add(1).div(2).clamp(0, 1).movedim(1, -1)
    return io.NodeOutput((Subject(identity, name=name),), seen, ui=ui.PreviewImage(seen))


def _face_of(session: Session, photos: Sequence[Image.Image], number: int) -> Identity:
    """Return a person by the face; 0 is the largest.

    Raises:
        InputError: Several pictures came, the session finds no faces, or there is no such face.
    """
    if not session.components.family.takes_adapters or session.face_encoder is None:
        raise InputError(
            f"This session of {session.components.preset.name!r} draws no faces. Load a recipe for "
            "faces, as 'face-plus', or a full-size one with an `encoder`."
        )
    if len(photos) != 1:
        raise InputError(f"{len(photos)} pictures came where one is needed. Link one picture.")
    identity = session.encode_face(photos[0], number=number or None)
    logger.info("%s", CONSENT)
    return identity


def _only(subjects: Subjects) -> Subject:
    if len(subjects) != 1:
        raise InputError(
            f"{len(subjects)} subjects came where one is needed. Link one of Encode identity or "
            "Load identity; others come in by the input `others` of Place subject."
        )
    return subjects[0]


def _some(mask: Tensor) -> Tensor:
    """Return `mask`, unless it is what Load Image gives where nothing was painted.

    Raises:
        InputError: It is.
    """
    if mask.max() <= 0:
        raise InputError(
            "The mask is empty, as that of Load Image is where nothing is painted or transparent. "
            "Paint over the place in the mask editor, or take the link to the mask away."
        )
    return mask


def _regions(mask: Tensor, photos: Sequence[Image.Image]) -> list[Tensor]:
    """Return where each photo shall change: one mask for all, or one each.

    Raises:
        InputError: There are more masks, or fewer.
    """
    masks = masks_of(mask)
    if len(masks) not in {1, len(photos)}:
        raise InputError(
            f"{len(photos)} pictures came with {len(masks)} masks. Give one for all, or one each."
        )
    each = masks * len(photos) if len(masks) == 1 else masks
    return [load_mask(one, photo.size) for one, photo in zip(each, photos, strict=True)]


def _search(cutout: str, box: Box | None) -> str:
    return cutout if box is None else " ".join([cutout, ",".join(map(str, box))])


def _cutout_input() -> io.Input:
    return io.String.Input(
        "cutout",
        default="auto",
        tooltip="How the subject is found: auto, none (the whole picture), a network (isnet, "
        "birefnet, sam2), a box '0.1,0.1,0.9,0.9', or points '0.5,0.6 not:0.1,0.1'.",
    )


def _box_input(tooltip: str) -> io.Input:
    return BoxType.Input("box", optional=True, tooltip=tooltip)


def _share_input(name: str, default: float) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01)


def _side_input(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=MAX_SIDE_PX,
        step=8,
        advanced=True,
        tooltip="In pixels; 0 is the recipe's own size.",
    )
