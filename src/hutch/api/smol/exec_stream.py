"""A running command as server-sent events.

Text is decoded across chunks, so that a character cut in two arrives whole; what is not UTF-8 is replaced.
"""

import base64
import codecs
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeAlias

import structlog
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import events, service, streams
from hutch.control.processes import Chunk, Started, Stream
from hutch.model import errors
from hutch.model.guest import Exit

PROCESS_ID = "x-hutch-process-id"

Told: TypeAlias = AsyncGenerator[Started | Chunk | Exit, None]

log = structlog.stdlib.get_logger("hutch.api.smol")


class TextFrames:
    """Chunks of both streams as text events."""

    def __init__(self) -> None:
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in Stream}
        self._line_ends = {stream: events.LineEnds() for stream in Stream}

    def chunk(self, stream: Stream, data: bytes, final: bool = False) -> bytes:
        """An event, or nothing if only a part of a character has come."""
        text = self._line_ends[stream].clean(self._decoders[stream].decode(data, final))
        return events.frame(stream.value, text) if text else b""

    def rest(self) -> bytes:
        """What an unfinished character at the very end is shown as."""
        return b"".join(self.chunk(stream, b"", final=True) for stream in Stream)


class ExactFrames:
    """Chunks of both streams as events whose data are base64."""

    def chunk(self, stream: Stream, data: bytes) -> bytes:
        """An event."""
        return events.frame(stream.value, base64.b64encode(data).decode("ascii"))

    def rest(self) -> bytes:
        """Nothing is ever held back."""
        return b""


def exit_frame(end: Exit) -> bytes:
    """The last event; `signal` and `timedOut` are native and only there when they say something."""
    shown: dict[str, int | bool] = {"exitCode": end.shell_code}
    if end.signal is not None:
        shown["signal"] = end.signal
    if end.timed_out:
        shown["timedOut"] = True
    return events.frame("exit", to_json(shown).decode())


async def frames(told: Told, of: TextFrames | ExactFrames) -> AsyncGenerator[bytes, None]:
    """The events of a command that has started; closing it closes `told`, which ends the command."""
    async with aclosing(told):
        try:
            async for item in told:
                match item:
                    case Chunk():
                        if frame := of.chunk(item.stream, item.data):
                            yield frame
                    case Exit():
                        yield of.rest() + exit_frame(item)
        except errors.HutchError as error:
            log.warning("stream broke off", error=type(error).__name__, message=error.message, **error.context)
            yield of.rest() + events.frame("error", error.message)


async def response(request: Request, told: Told, as_text: bool) -> Response:
    """Start the command, then answer: whatever goes wrong until it runs still has a status of its own."""
    service.of(request).metrics.count_exec("stream")
    started = await streams.unless_hung_up(request.receive, streams.first(told))
    assert isinstance(started, Started), "a stream begins with Started"
    return streams.PulledResponse(
        frames(told, TextFrames() if as_text else ExactFrames()),
        streams.EVENT_STREAM_HEADERS | {PROCESS_ID: started.process},
        keep_alive=streams.EVENT_STREAM_KEEP_ALIVE,
    )
