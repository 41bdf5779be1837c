"""What each tool takes, made from the schema of HTTP, and the files that tools read and write."""

import base64
import binascii
import stat
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, create_model, model_validator

from swiftpie.config import Surface
from swiftpie.errors import ConfigError, ImageError, printable, system_reason
from swiftpie.imageio.atomic import make_folder, write_file
from swiftpie.pipelines.request import MAX_SUBJECTS, RepaintRequest, Subject
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.pipelines.tasks import TASKS, Task
from swiftpie.server.schemas import (
    MAX_IMAGE_BYTES,
    MAX_IMAGE_LETTERS,
    MAX_IMAGES,
    MAX_NAME,
    AnimateIn,
    Drawing,
    OwnFields,
    Strict,
    WithOptions,
    check_one_of,
    with_options,
)

MAX_PATH = 4_096  # letters
MOST_MB = MAX_IMAGE_BYTES / 1e6
KEPT = ("style_reference", "style_scale")  # options of things kept by HTTP


class Picture(Strict):
    """A picture: a file inside of an allowed folder, or its bytes."""

    path: Annotated[
        str,
        Field(
            max_length=MAX_PATH, description="A file inside of a folder that the user has allowed."
        ),
    ] = ""
    data: Annotated[
        str,
        Field(
            max_length=MAX_IMAGE_LETTERS,
            description="Instead, the bytes of the file in base64. Addresses are never fetched.",
        ),
    ] = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        """Take a path or bytes."""
        return check_one_of(self, "path", "data")


@with_options(Subject)
class ShownSubject(WithOptions):
    """One subject: pictures that show it, or its name in the library."""

    pictures: Annotated[
        tuple[Picture, ...],
        Field(max_length=MAX_IMAGES, description="Pictures of the same subject."),
    ] = ()
    masks: Annotated[
        tuple[Picture, ...],
        Field(
            max_length=MAX_IMAGES,
            description="One for each picture, white where the subject is; by default it is found.",
        ),
    ] = ()
    library: Annotated[
        str, Field(max_length=MAX_NAME, description="Instead of pictures, a name such as 'cat'.")
    ] = ""

    @model_validator(mode="after")
    def _is_shown_or_named(self) -> Self:
        """Take pictures or a name."""
        check_one_of(self, "pictures", "library")
        if len(self.masks) not in {0, len(self.pictures)}:
            raise ValueError("masks are needed for all pictures or for none")
        return self

    @property
    def placed(self) -> dict[str, Any]:
        """Box, view, name and scale, as HTTP has them."""
        return self.model_dump(exclude={"pictures", "masks", "library"}, exclude_unset=True)


@dataclass(frozen=True)
class Tool:
    """Something that an assistant can ask for."""

    name: str
    description: str
    arguments: type[BaseModel]
    task: str  # as HTTP calls it
    fixed: Mapping[str, str] = field(default_factory=dict)  # fields of `Drawing` not taken

    def drawing(self, given: BaseModel) -> Drawing:
        """Return the drawing that checked arguments stand for, without pictures and subjects."""
        values = {
            name: value
            for name, value in given.model_dump(exclude_unset=True).items()
            if not holds_pictures(getattr(given, name))
        }
        own = {name: value for name, value in values.items() if name in OwnFields.model_fields}
        own |= {"task": self.task, "mask_mode": "white"}
        shared = {name: value for name, value in values.items() if name in Drawing.model_fields}
        return Drawing.model_validate({**self.fixed, **shared, "swiftpie": own})


def holds_pictures(value: object) -> bool:
    """Whether an argument is a picture or a subject, or a list of such."""
    values = value if isinstance(value, list) else [value]
    return any(isinstance(value, Picture | ShownSubject) for value in values)


def subjects_of(given: BaseModel) -> list[ShownSubject]:
    """Return the subjects among the arguments."""
    one = getattr(given, "subject", None)
    return [*getattr(given, "subjects", []), *([] if one is None else [one])]


def _arguments(name: str, *, shared: Sequence[str], own: Sequence[str], **more: Any) -> Any:  # noqa: ANN401 - pydantic makes the class
    """Return the model of a tool's arguments: fields of `Drawing`, of `OwnFields`, and `more`."""
    fields: dict[str, Any] = dict(more)
    for source, names in ((Drawing, shared), (OwnFields, own)):
        for option in names:
            known = copy(source.model_fields[option])
            fields[option] = (known.annotation, known)
    return create_model(name, __base__=Strict, __module__=__name__, **fields)


ONE_SUBJECT = Field(description="The subject, by pictures or by its name in the library.")
SUBJECTS: Any = (
    Annotated[list[ShownSubject], Field(max_length=MAX_SUBJECTS)],
    Field([], description="Subjects that the prompt mentions, each with its box."),
)
CHANGED = Field(description="The picture to change. The result has its size.")
MASK = Field(description="White where the picture may change, and as large as it.")
MOVES = Field(description="What changes, and how fast.")


def _tool(name: str, task: Task) -> Tool:
    """Return the tool of a task: its options that HTTP has, without kept pictures."""
    known = task.options(Surface.HTTP, without=(*KEPT, *(() if task.takes_mask else ("box",))))
    shared = {"prompt", "negative_prompt"} & known.keys()
    shared |= {"seed", "n", "output_format", "output_compression"}
    shared |= set() if task.is_change else {"size"}
    more: dict[str, Any] = {}
    fixed = {} if "prompt" in known else {"prompt": "nothing"}
    if "to" in known:
        shared -= {"n", "output_format"}
        more["animate"] = (Annotated[AnimateIn, MOVES], ...)
        fixed["output_format"] = "webp"
    if task.is_change:
        more["picture"] = (Annotated[Picture, CHANGED], ...)
    if task.takes_mask:
        more["mask"] = (Annotated[Picture | None, MASK], None)
    if task.most_subjects > 1:
        more["subjects"] = SUBJECTS
    elif task.request is RepaintRequest and task.most_subjects:
        more["subject"] = (Annotated[ShownSubject, ONE_SUBJECT], ...)
    elif task.most_subjects:
        more["subject"] = (Annotated[ShownSubject | None, ONE_SUBJECT], None)
    parts = {"scales": Scales, "edit": EditSettings}
    own = [option for option in known if option in OwnFields.model_fields]
    own += [option for option, part in parts.items() if part in task.parts]
    arguments = _arguments(name.title(), shared=sorted(shared), own=own, **more)
    kind = name if task.is_change else "personalize"
    return Tool(
        "draw" if name == "personalize" else name, task.about, arguments, task=kind, fixed=fixed
    )


TOOLS = tuple(_tool(name, task) for name, task in TASKS.items())


class Folders:
    """Folders that a user allows, and the one that pictures are written to."""

    def __init__(self, allowed: Sequence[Path], *, out: Path | None = None) -> None:
        """Resolve the folders, and make `out`."""
        if out is not None:
            make_folder(out)
        for folder in allowed:
            if not folder.is_dir():
                raise ConfigError(
                    f"--folder '{folder}' is no folder. One that exists is needed. Check the path."
                )
        self._allowed = [folder.resolve() for folder in (*allowed, *([] if out is None else [out]))]
        self._out = None if out is None else out.resolve()

    def read(self, picture: Picture, *, name: str) -> bytes:
        """Return the bytes of a picture."""
        data = self._read_file(picture.path, name) if picture.path else _decoded(picture.data, name)
        if len(data) > MAX_IMAGE_BYTES:
            raise ImageError(
                f"'{name}' has more than {MOST_MB:.1f} MB, the most that is read. Give a smaller "
                "one."
            )
        return data

    def write(self, data: bytes, *, name: str, suffix: str) -> Path | None:
        """Write a picture under the next free name; return that, None if none are written."""
        if self._out is None:
            return None
        names = (self._out / f"{name}-{number:04}{suffix}" for number in count(1))
        path = next(path for path in names if not path.exists())
        write_file(path, data)
        return path

    def _read_file(self, path: str, name: str) -> bytes:
        """Return at most one byte more than may be read of a plain file inside of the folders."""
        shown = printable(path)
        try:
            found = self._find(path)
            is_file = found is not None and stat.S_ISREG(found.stat().st_mode)
            if found is not None and is_file:  # a pipe would wait for ever
                with found.open("rb") as file:
                    return file.read(MAX_IMAGE_BYTES + 1)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(
                f"'{name}' is '{shown}', which cannot be read ({system_reason(error)}). Give a "
                "picture that exists."
            ) from error
        allowed = ", ".join(map(str, self._allowed)) or "none; start with --folder DIR"
        raise ImageError(
            f"'{name}' is '{shown}', which is no file in a folder that may be read ({allowed}). "
            "Give a file inside of one, or its bytes as 'data'."
        )

    def _find(self, path: str) -> Path | None:
        """Return where a path leads, links followed; None if that is outside of all folders."""
        places = [(folder / path).resolve() for folder in self._allowed]
        inside = [
            place
            for place, folder in zip(places, self._allowed, strict=True)
            if place.is_relative_to(folder)
        ]
        return next((place for place in inside if place.exists()), inside[0] if inside else None)


def _decoded(text: str, name: str) -> bytes:
    """Return the bytes of base64, with or without the head of a data URL."""
    head, comma, rest = text.partition(",")
    is_url = comma and head.startswith("data:image/") and head.endswith(";base64")
    try:
        return base64.b64decode(rest if is_url else text, validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"'{name}' is no base64. Give the bytes of a picture's file in base64, or a path."
        ) from error
