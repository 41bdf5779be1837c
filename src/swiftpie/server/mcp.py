"""The MCP server: tools made from the schema of HTTP, around the worker of `swiftpie serve`."""

import asyncio
import base64
import binascii
import json
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model, model_validator

from swiftpie import __version__
from swiftpie.config import Surface
from swiftpie.errors import (
    ConfigError,
    ImageError,
    InputError,
    printable,
    short_reason,
    system_reason,
)
from swiftpie.imageio.atomic import make_folder, write_file
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.decoding_process import DecodedPicture
from swiftpie.imageio.writing import encode_image
from swiftpie.library import subject_library
from swiftpie.pipelines.request import MAX_SUBJECTS, PersonalizeRequest, Pictures, Subject, Task
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.pipelines.tasks import TASKS, RetouchRequest
from swiftpie.remedies import Tongue
from swiftpie.server import schemas
from swiftpie.server.drawing import SUFFIXES, DrawnPicture, warnings_of
from swiftpie.server.errors import answer_to, error_of_fields
from swiftpie.server.store import Caller
from swiftpie.server.worker import Worker
from swiftpie.validation import MAX_REFERENCES

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

CALLER = Caller("mcp", "mcp")  # all calls are of one user
Report = Callable[[int, int, str], Awaitable[None]]
"""Takes how many steps are done, of how many, and what the next one is."""
MAX_PATH = 4_096  # letters
MAX_ANSWER_BYTES = 700_000  # A megabyte in base64: some programs take no more.
MOST_MB = schemas.MAX_IMAGE_BYTES / 1e6
STYLE = "style_reference"  # a picture here, and the id of a kept one over HTTP


class Picture(schemas.Strict):
    """A picture: a file inside of an allowed folder, or its bytes."""

    path: str = Field(
        "", max_length=MAX_PATH, description="A file inside of a folder that the user has allowed."
    )
    data: str = Field(
        "",
        max_length=schemas.MAX_IMAGE_LETTERS,
        description="Instead, the bytes of the file in base64. Addresses are never fetched.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """Read a path, or a data URL, which many assistants write in place of an object."""
        if not isinstance(value, str):
            return value
        is_data = schemas.DATA_URL.match(value) or len(value) > MAX_PATH
        return {"data" if is_data else "path": value}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        return schemas.check_one_of(self, "path", "data")


@schemas.with_options(Subject)
class ShownSubject(schemas.WithOptions):
    """One subject: pictures that show it, or its name in the library."""

    pictures: tuple[Picture, ...] = Field(
        (), max_length=MAX_REFERENCES, description="Pictures of the same subject."
    )
    masks: tuple[Picture, ...] = Field(
        (),
        max_length=MAX_REFERENCES,
        description="One for each picture, white where the subject is; by default it is found.",
    )
    library: str = Field(
        "", max_length=schemas.MAX_NAME, description="Instead of pictures, a name such as 'cat'."
    )
    identity: Picture | None = Field(
        None, description="Instead of pictures, an identity file, in the same two ways."
    )

    @model_validator(mode="after")
    def _is_shown_or_named(self) -> Self:
        schemas.check_one_of(self, "pictures", "library", "identity")
        if len(self.masks) not in {0, len(self.pictures)}:
            raise ValueError("masks are needed for all pictures or for none")
        return self

    @property
    def placed(self) -> dict[str, Any]:
        """Box, view, name and scale, as HTTP has them."""
        sources = {"pictures", "masks", "library", "identity"}
        return self.model_dump(exclude=sources, exclude_unset=True)


@dataclass(frozen=True)
class Tool:
    """Something that an assistant can ask for."""

    name: str
    description: str
    arguments: type[BaseModel]
    task: str  # as HTTP calls it
    fixed: Mapping[str, str] = field(default_factory=dict)  # fields of `Drawing` not taken

    def drawing(self, given: BaseModel) -> schemas.Drawing:
        """Return the drawing that checked arguments stand for, without pictures and subjects."""
        values = {
            name: value
            for name, value in given.model_dump(exclude_unset=True).items()
            if not holds_pictures(getattr(given, name))
        }
        own, shared = (
            {name: values[name] for name in values.keys() & model.model_fields}
            for model in (schemas.OwnFields, schemas.Drawing)
        )
        own |= {"task": self.task, "mask_mode": "white"}
        return schemas.Drawing.model_validate({**self.fixed, **shared, "swiftpie": own})


def _from_texts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with values for JSON that is written as text, as many assistants do."""
    texts = {"prompt", "negative_prompt"}
    return {
        name: schemas.read_json(value.encode())
        if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"} and name not in texts
        else value
        for name, value in arguments.items()
    }


def holds_pictures(value: object) -> bool:
    """Whether an argument is a picture or a subject, or a list of such."""
    values = value if isinstance(value, list) else [value]
    return any(isinstance(value, Picture | ShownSubject) for value in values)


ONE_SUBJECT = Field(description="The subject, by pictures or by its name in the library.")
SUBJECTS: Any = (
    Annotated[list[ShownSubject], Field(max_length=MAX_SUBJECTS)],
    Field([], description="Subjects that the prompt mentions, each with its box."),
)
CHANGED = Field(description="The picture to change. The result has its size.")
MASK = Field(description="White where the picture may change, and as large as it.")
MOVES = Field(description="What changes, and how fast.")


def _tool(name: str, task: Task) -> Tool:
    """Return the tool of a task: its options that HTTP has, but pictures in place of kept ones."""
    known = task.options(Surface.HTTP)
    shared = {"prompt", "negative_prompt"} & known.keys()
    shared |= {"seed", "n", "output_format", "output_compression"}
    shared |= set() if task.is_change else {"size"}
    more: dict[str, Any] = {}
    fixed: dict[str, str] = {}
    if "prompt" in shared and task.request is not RetouchRequest:
        shared -= {"prompt"}
        more["prompt"] = (schemas.Prompt, schemas.described(PersonalizeRequest, "prompt"))
    if "to" in known:
        shared -= {"n", "output_format"}
        more["animate"] = (Annotated[schemas.AnimateIn, MOVES], ...)
        fixed["output_format"] = "webp"
    more |= _pictures_of(task, has_style=known.pop(STYLE, None) is not None)
    if task.most_subjects > 1:
        more["subjects"] = SUBJECTS
    elif task.request is RetouchRequest and task.most_subjects:
        more["subject"] = (Annotated[ShownSubject, ONE_SUBJECT], ...)
    elif task.most_subjects:
        more["subject"] = (Annotated[ShownSubject | None, ONE_SUBJECT], None)
    parts = {"scales": Scales, "edit": EditSettings}
    own = [option for option in known if option in schemas.OwnFields.model_fields]
    own += [option for option, part in parts.items() if part in task.parts]
    for source, names in ((schemas.Drawing, sorted(shared)), (schemas.OwnFields, own)):
        for option in names:
            field_of = copy(source.model_fields[option])
            more[option] = (field_of.annotation, field_of)
    arguments = create_model(name.title(), __base__=schemas.Strict, __module__=__name__, **more)
    called = "draw" if name == "personalize" else name
    kind = name if task.is_change else "personalize"
    return Tool(called, task.about, arguments, task=kind, fixed=fixed)


def _pictures_of(task: Task, *, has_style: bool) -> dict[str, Any]:
    """Return the arguments of a task that are pictures, but for subjects."""
    about = schemas.described(task.request, STYLE)
    found: dict[str, Any] = (
        {"picture": (Annotated[Picture, CHANGED], ...)} if task.is_change else {}
    )
    if has_style:
        found[STYLE] = (Annotated[Picture | None, about], None)
    if task.takes_mask:
        found["mask"] = (Annotated[Picture | None, MASK], None)
    return found


TOOLS = tuple(_tool(name, task) for name, task in TASKS.items())


class Folders:
    """Folders that a user allows, and the one that pictures are written to."""

    def __init__(self, allowed: Sequence[Path], *, out: Path | None = None) -> None:
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
        data = self._read_file(picture.path, name) if picture.path else _decoded(picture.data, name)
        if len(data) > schemas.MAX_IMAGE_BYTES:
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
        path = next(path for path in names if not os.path.lexists(path))
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
                    return file.read(schemas.MAX_IMAGE_BYTES + 1)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(
                f"'{name}' is '{shown}', which cannot be read ({system_reason(error)}). Give a "
                "picture that exists."
            ) from error
        allowed = ", ".join(map(str, self._allowed)) or "none; start with --folder DIR"
        where = "outside of the folders" if found is None else "no file in a folder"
        raise ImageError(
            f"'{name}' is '{shown}', which is {where} that may be read ({allowed}), links "
            "followed. Give a file inside of one, or its bytes as 'data'."
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
    head, _, rest = text.partition(",")
    try:
        return schemas.bytes_of_base64(rest if schemas.DATA_URL.fullmatch(head) else text)
    except binascii.Error as error:
        raise ImageError(
            f"'{name}' is no base64. Give the bytes of a picture's file in base64, or a path."
        ) from error


@dataclass(frozen=True)
class Toolbox:
    """Carries out tools."""

    worker: Worker
    folders: Folders

    async def call(
        self, name: str, arguments: dict[str, Any], report: Report
    ) -> types.CallToolResult:
        try:
            tool = next((tool for tool in TOOLS if tool.name == name), None)
            if tool is None:
                names = ", ".join(tool.name for tool in TOOLS)
                raise InputError(f"There is no tool {name[:64]!r}. Choose from {names}.")
            given = tool.arguments.model_validate(_from_texts(arguments))
            return await self._carry_out(tool, given, report)
        except Exception as error:  # noqa: BLE001 - an assistant gets every failure as a sentence
            text = words_of(error, f"the tool {name[:64]!r}")
            return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)

    async def _carry_out(
        self, tool: Tool, given: BaseModel, report: Report
    ) -> types.CallToolResult:
        subject = getattr(given, "subject", None)
        subjects = [*getattr(given, "subjects", []), *([] if subject is None else [subject])]
        shown = sum(bool(subject.pictures) for subject in subjects)
        steps = 1 + shown + getattr(given, "n", 1)
        count = sum(len(subject.pictures) for subject in subjects) + hasattr(given, "picture")
        if count > schemas.MAX_IMAGES:
            raise InputError(
                f"{count} pictures were given. At most {schemas.MAX_IMAGES} are read. Give fewer."
            )
        await report(0, steps, "reading" if self.worker.is_ready else "loading the model")
        await asyncio.shield(self.worker.getting_ready)
        picture, mask, style = (getattr(given, name, None) for name in ("picture", "mask", STYLE))
        images, original = [], None
        if picture is not None:
            found = await self._decode(picture, "picture", keeps_original=True)
            images, original = [found.image], found.original
        shape = (await self._decode(mask, "mask")).image if isinstance(mask, Picture) else None
        if style is not None:
            style = (await self._decode(style, STYLE, most_px=schemas.KEPT_PX)).image
        await report(1, steps, "encoding subjects" if shown else "drawing")
        named = [await self._subject(subject) for subject in subjects]
        body, results = tool.drawing(given), []
        changed: Any = {"images": images, "mask": shape, "style": style, "original": original}
        jobs = await self.worker.builder.jobs_of(body, caller=CALLER, more=named, **changed)
        async for result in self.worker.draw(jobs):
            results.append(result)
            await report(1 + shown + len(results), steps, f"drew {len(results)}")
        files = [result.data for result in results]
        return self._answered(files, _facts(results), name=tool.name, kind=body.output_format)

    async def _decode(self, picture: Picture, name: str, **kept: Any) -> DecodedPicture:  # noqa: ANN401
        data = await asyncio.to_thread(self.folders.read, picture, name=name)
        return await self.worker.decoder.decode(data, name=f"'{name}'", key=CALLER.key, **kept)

    async def _subject(self, given: ShownSubject) -> Subject:
        placed = given.placed
        if given.library:
            placed["name"] = placed.get("name") or given.library
            return Subject(subject_library().find(given.library), **placed)
        if given.identity is not None:
            data = await asyncio.to_thread(self.folders.read, given.identity, name="identity")
            builder, model = self.worker.builder, self.worker.models.named(None)
            return Subject(await builder.in_file(data, model), **placed)
        images, masks = [
            [(await self._decode(each, name, most_px=schemas.KEPT_PX)).image for each in pictures]
            for name, pictures in (("pictures", given.pictures), ("masks", given.masks))
        ]
        return Subject(Pictures(tuple(images), tuple(masks)), **placed)

    def _answered(
        self, files: Sequence[bytes], facts: dict[str, Any], *, name: str, kind: str
    ) -> types.CallToolResult:
        written = [self.folders.write(data, name=name, suffix=SUFFIXES[kind]) for data in files]
        if written[0] is not None:
            facts["files"] = list(map(str, written))
            if sum(map(len, files)) > MAX_ANSWER_BYTES:  # whole ones are in the folder
                most = MAX_ANSWER_BYTES // len(files)
                files, kind = [preview(data, most_bytes=most) for data in files], "jpeg"
                facts["shown"] = "previews; the files hold the pictures"
        pictures = [
            types.ImageContent(data=base64.b64encode(data).decode(), mime_type=f"image/{kind}")
            for data in files
        ]
        text = types.TextContent(text=json.dumps(facts, ensure_ascii=False))
        return types.CallToolResult(content=[*pictures, text], structured_content=facts)


def preview(data: bytes, *, most_bytes: int) -> bytes:
    """Return a file of ours as a JPEG that is no larger, of a film the first frame."""
    image = load_image(data)
    for side in (1024, 512, 256, 128):
        image.thumbnail((side, side))
        small = encode_image(image, ".jpg", metadata=None, quality=85)
        if len(small) <= most_bytes:
            break
    return small


def words_of(error: Exception, what: str) -> str:
    """Return what is wrong with `what`, without the words of HTTP; a fault of ours is logged."""
    match error:
        case ValidationError():
            text = error_of_fields(error, Tongue.TOOLS).detail
        case _:
            text = answer_to(error, what, Tongue.TOOLS).detail
    return text.replace("swiftpie.", "")


def _facts(drawn: Sequence[DrawnPicture]) -> dict[str, Any]:
    """Return facts of pictures, with what an assistant needs to draw them again."""
    first = drawn[0]
    warnings = [text.replace("swiftpie.", "") for text in warnings_of(drawn, Tongue.TOOLS)]
    return {
        "seeds": [picture.seed for picture in drawn],
        "model": first.model,
        "size": "{}x{}".format(*first.size),
        **({"scores": [picture.scores for picture in drawn]} if first.scores else {}),
        **({"warnings": warnings} if warnings else {}),
        **first.chosen,
    }


def make_server(toolbox: Toolbox) -> "Server[Any]":
    async def list_tools(
        _: "ServerRequestContext[Any]", __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools = []
        for tool in TOOLS:
            facts: Any = {"name": tool.name, "description": tool.description}
            tools += [types.Tool(**facts, input_schema=tool.arguments.model_json_schema())]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        context: "ServerRequestContext[Any]", params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def report(done: int, total: int, message: str) -> None:
            await context.session.report_progress(done, total, message)

        return await toolbox.call(params.name, params.arguments or {}, report)

    return Server(
        "swiftpie",
        version=__version__,
        instructions="Draws and edits pictures on this machine. All pictures are generated: say so "
        "where you show them.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(toolbox: Toolbox) -> None:
    """Serve one client over standard input and output, until it closes them."""
    server = make_server(toolbox)
    async with toolbox.worker, stdio_server() as (reading, writing):
        passing, checked = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def answer_unreadable() -> None:
            async with passing:
                async for message in reading:
                    answer = _unreadable(message) if isinstance(message, Exception) else None
                    await (passing.send(message) if answer is None else writing.send(answer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_unreadable)
            await server.run(checked, writing, server.create_initialization_options())
            tasks.cancel_scope.cancel()


def _unreadable(error: Exception) -> SessionMessage | None:
    """Return the answer to a line that is no message; None if it does not name its request.

    The library answers none, such as those with half of a letter, which JSON may hold.
    """
    if not isinstance(error, ValidationError):
        return None
    about = error.errors()[0]
    try:
        request = TypeAdapter(types.RequestId).validate_python(json.loads(about["input"])["id"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    text = f"The message cannot be read ({short_reason(about['msg'])}). Write it as valid Unicode."
    failure = types.ErrorData(code=types.PARSE_ERROR, message=text)
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=request, error=failure))
