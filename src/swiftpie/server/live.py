"""Live drawing over a WebSocket: the newest request counts, and one is drawn at a time.

Requests are JSON (`LiveDraw`). An answer is one binary message: four bytes with the length of a
header, the header as JSON, and the picture as a file. What a newer request replaced is reported as
`{"type": "dropped", "id": …}`, what went wrong as `{"type": "error", "id": …, "error": …}`. Every
message gets an answer, and no error ends the connection.
"""

import asyncio
import base64
import json
import struct
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect
from PIL import Image
from pydantic import ValidationError

from swiftpie.server.drawing import PictureFile
from swiftpie.server.schemas import LiveDraw, error_answer, errors_of, problem_of_fields
from swiftpie.server.worker import Caller, Worker

LENGTH = struct.Struct(">I")
PROTOCOL = "swiftpie"


class Live:
    """One connection."""

    def __init__(self, worker: Worker, socket: WebSocket) -> None:
        self._worker = worker
        self._socket = socket
        self._caller = Caller(f"{socket.state.key} live", socket.state.owner)
        self._newest: LiveDraw | None = None
        self._came = asyncio.Event()

    async def serve(self) -> None:
        """Answer until the other side leaves."""
        offered = self._socket.scope.get("subprotocols", ())
        await self._socket.accept(PROTOCOL if PROTOCOL in offered else None)
        drawing = asyncio.ensure_future(self._draw_newest())
        try:
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                await self._take(message.get("text") or "")  # a binary message has none
                await asyncio.sleep(0)  # others may have their turn
        except WebSocketDisconnect:  # while it was answered
            pass
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing

    async def _take(self, text: str) -> None:
        try:
            message = LiveDraw.model_validate_json(text)
        except ValidationError as error:
            info = problem_of_fields(errors_of(error))
            await self._socket.send_json({"type": "error", "id": None, **info})
            return
        if self._newest is not None:
            await self._socket.send_json({"type": "dropped", "id": self._newest.id})
        self._newest = message
        self._came.set()

    async def _draw_newest(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await self._came.wait()
                self._came.clear()
                message, self._newest = self._newest, None
                if message is not None:
                    await self._draw(message)

    async def _draw(self, message: LiveDraw) -> None:
        try:
            drawn = await self._drawn(message)
        except Exception as error:  # noqa: BLE001 - the next message is drawn whatever it is
            _, info = error_answer(error, "a live drawing")
            await self._socket.send_json({"type": "error", "id": message.id, **info})
            return
        header = {
            "type": "picture",
            "id": message.id,
            "seed": drawn.seed,
            "width": drawn.size[0],
            "height": drawn.size[1],
            "mime": f"image/{message.output_format}",
            "milliseconds": round(drawn.milliseconds, 1),
            "timings_ms": drawn.timings_ms,
            "warnings": drawn.warnings,
            "box": drawn.box,
            "named": [named._asdict() for named in drawn.named],
            "mask_b64": base64.b64encode(drawn.mask).decode() or None,
        }
        head = json.dumps(header).encode()
        await self._socket.send_bytes(LENGTH.pack(len(head)) + head + drawn.data)

    async def _drawn(self, message: LiveDraw) -> PictureFile:
        worker, images, mask = self._worker, [], None
        if message.type == "edit":
            images = [self._picture(message.picture_id)]
            mask = self._picture(message.mask_id) if message.mask_id else None
        work = await worker.plan(
            message.as_drawing(), caller=self._caller, images=images, mask=mask
        )
        return (await worker.draw(work))[0]

    def _picture(self, name: str) -> Image.Image:
        return self._worker.pictures.find(name, owner=self._caller.owner)
