"""The MCP server: tools around the worker of `swiftpie serve`, over stdio."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp.types import Tool as ToolInfo
from pydantic import BaseModel, ValidationError

from swiftpie import __version__
from swiftpie.errors import InputError, NoSubject, SwiftPieError, UnknownSubjectError
from swiftpie.library import subject_library
from swiftpie.pipelines.request import Pictures, Subject
from swiftpie.server.drawing import SUFFIXES, PictureFile
from swiftpie.server.jobs import Expired, Overloaded
from swiftpie.server.mcp.tools import TOOLS, Folders, Picture, ShownSubject, Tool, subjects_of
from swiftpie.server.schemas import (
    KEPT_PX,
    MAX_IMAGES,
    RequestError,
    errors_of,
    log_failure,
    problem_of,
    problem_of_fields,
)
from swiftpie.server.worker import Caller, Worker

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from PIL import Image

CALLER = Caller("mcp", "mcp")  # all calls are of one user
Report = Callable[[int, int, str], Awaitable[None]]
"""Takes how many steps are done, of how many, and what the next one is."""
WHITE = [0] * 128 + [255] * 128  # from which value on a mask counts
KNOWN = (SwiftPieError, RequestError, Overloaded, Expired, ValidationError)


@dataclass(frozen=True)
class Toolbox:
    """Carries out tools."""

    worker: Worker
    folders: Folders

    async def call(self, name: str, arguments: dict[str, Any], report: Report) -> CallToolResult:
        """Return the pictures of a tool and their facts, or what is wrong in plain words."""
        try:
            tool = next((tool for tool in TOOLS if tool.name == name), None)
            if tool is None:
                names = ", ".join(tool.name for tool in TOOLS)
                raise InputError(f"There is no tool {name[:64]!r}. Choose from {names}.")
            return await self._carry_out(tool, tool.arguments.model_validate(arguments), report)
        except KNOWN as error:
            text = words_of(error)
        except Exception as error:  # noqa: BLE001 - an assistant gets every failure as a sentence
            log_failure(error, f"the tool {name[:64]!r}")
            text = "The picture could not be drawn. The server's log says why."
        return CallToolResult(content=[TextContent(text=text)], is_error=True)

    async def _carry_out(self, tool: Tool, given: BaseModel, report: Report) -> CallToolResult:
        subjects = subjects_of(given)
        shown = sum(bool(subject.pictures) for subject in subjects)
        steps = 1 + shown + getattr(given, "n", 1)
        count = sum(len(subject.pictures) for subject in subjects) + hasattr(given, "picture")
        if count > MAX_IMAGES:
            raise InputError(
                f"{count} pictures were given. At most {MAX_IMAGES} are read. Give fewer."
            )
        await report(0, steps, "reading" if self.worker.is_ready else "loading the model")
        await asyncio.shield(self.worker.getting_ready)
        picture, mask = (getattr(given, name, None) for name in ("picture", "mask"))
        images = [] if picture is None else [await self._decode(picture, "picture")]
        shape = await self._decode(mask, "mask") if isinstance(mask, Picture) else None
        await report(1, steps, "encoding subjects" if shown else "drawing")
        named = [await self._subject(subject) for subject in subjects]
        body, results = tool.drawing(given), []
        work = await self.worker.plan(body, caller=CALLER, images=images, mask=shape, more=named)
        async for result in self.worker.draw_each(work):
            results.append(result)
            await report(1 + shown + len(results), steps, f"drew {len(results)}")
        files = [result.data for result in results]
        return self._answered(files, _facts(results), name=tool.name, kind=body.output_format)

    async def _decode(
        self, picture: Picture, name: str, *, most_px: int | None = None
    ) -> "Image.Image":
        data = await asyncio.to_thread(self.folders.read, picture, name=name)
        return await self.worker.decode(data, name=name, key=CALLER.key, most_px=most_px)

    async def _subject(self, given: ShownSubject) -> Subject:
        """Return a subject, with its pictures decoded, or by its name in the library."""
        placed = given.placed
        if given.library:
            placed["name"] = placed.get("name") or given.library
            return Subject(subject_library().find(given.library), **placed)
        images, masks = [
            [await self._decode(picture, name, most_px=KEPT_PX) for picture in pictures]
            for name, pictures in (("pictures", given.pictures), ("masks", given.masks))
        ]
        return Subject(Pictures(tuple(images), tuple(masks)), **placed)

    def _answered(
        self, files: Sequence[bytes], facts: dict[str, Any], *, name: str, kind: str
    ) -> CallToolResult:
        written = [self.folders.write(data, name=name, suffix=SUFFIXES[kind]) for data in files]
        if written[0] is not None:
            facts["files"] = list(map(str, written))
        pictures = [
            ImageContent(data=base64.b64encode(data).decode(), mime_type=f"image/{kind}")
            for data in files
        ]
        text = TextContent(text=json.dumps(facts, ensure_ascii=False))
        return CallToolResult(content=[*pictures, text], structured_content=facts)


def words_of(error: Exception) -> str:
    """Return what is wrong, without the words of HTTP."""
    match error:
        case ValidationError():
            text = problem_of_fields(errors_of(error))["error"]["message"]
        case NoSubject():
            text = f"{error.found} Give a mask with it, white where the subject is."
        case UnknownSubjectError():
            text = f"{error.found} Choose one of these, or give pictures of the subject."
        case _:
            text = problem_of(error)[1]["error"]["message"]
    return str(text).replace("swiftpie.", "")


def _facts(drawn: Sequence[PictureFile]) -> dict[str, Any]:
    """Return facts of pictures, with what an assistant needs to draw them again."""
    first = drawn[0]
    warnings = [text.replace("swiftpie.", "") for text in first.warnings]
    return {
        "seeds": [picture.seed for picture in drawn],
        "model": first.model,
        "size": "{}x{}".format(*first.size),
        **({"warnings": warnings} if warnings else {}),
        **first.chosen,
    }


def make_server(toolbox: Toolbox) -> "Server[Any]":
    """Return the server of the protocol, whatever carries its messages."""

    async def list_tools(
        _: "ServerRequestContext[Any]", __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        infos = [
            ToolInfo(
                name=tool.name,
                description=tool.description,
                input_schema=tool.arguments.model_json_schema(),
            )
            for tool in TOOLS
        ]
        return ListToolsResult(tools=infos)

    async def call_tool(
        context: "ServerRequestContext[Any]", params: CallToolRequestParams
    ) -> CallToolResult:
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
        await server.run(reading, writing, server.create_initialization_options())
