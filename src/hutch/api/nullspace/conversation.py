"""A WebSocket of this dialect: JSON messages with a `type` and, of whatever may run more than once, an `id`.

The server pings it; see `hutch.api.server`.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import pydantic
import structlog
from pydantic_core import to_json
from starlette.websockets import WebSocket, WebSocketDisconnect

from hutch.api import streams
from hutch.api.nullspace import errors
from hutch.model.errors import HutchError

Model = TypeVar("Model", bound=pydantic.BaseModel)
Handler = Callable[[dict[str, Any]], Awaitable[None]]

log = structlog.stdlib.get_logger("hutch.api.nullspace")


class Gone(Exception):
    """The client has gone: nobody is told any more."""


class Conversation:
    """What is said on one socket. Messages are sent one at a time; what takes long runs in tasks that end with it."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def tell(self, type: str, **fields: Any) -> None:  # noqa: A002 (what the message calls it)
        """Send a message. Raises `Gone`."""
        async with self._sending:
            try:
                await self.socket.send_text(to_json({"type": type, **fields}).decode())
            except (WebSocketDisconnect, RuntimeError):
                raise Gone from None

    async def tell_error(self, error: HutchError | errors.Told, id: str | None = None) -> None:
        """Send what went wrong."""
        it = errors.told(error) if isinstance(error, HutchError) else error
        about = {} if id is None else {"id": id}
        await self.tell("error", **about, message=str(it), code=it.code)

    def run(self, work: Coroutine[Any, Any, None], id: str | None = None) -> asyncio.Task[None]:
        """Do it beside the rest; what goes wrong is told."""
        task = asyncio.create_task(self._guarded(work, id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None], id: str | None) -> None:
        with contextlib.suppress(Gone):
            try:
                await work
            except Gone:
                raise
            except (HutchError, errors.Told) as error:
                await self.tell_error(error, id)
            except Exception:
                log.exception("a conversation failed")
                await self.tell_error(HutchError(), id)

    async def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Give every message to the handler of its type, in order, until the client goes or sends bytes."""
        inbox = streams.Inbox(self.socket.receive)
        try:
            await streams.either(self._hand_all(inbox, handlers), inbox.fill())
        except Gone:
            pass
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hand_all(self, inbox: streams.Inbox, handlers: Mapping[str, Handler]) -> None:
        while isinstance(text := (await inbox.next()).get("text"), str):
            await self._hand(text, handlers)

    async def _hand(self, text: str, handlers: Mapping[str, Handler]) -> None:
        id = None
        try:
            message = _read(text)
            id = message.get("id") if isinstance(message.get("id"), str) else None
            handler = handlers.get(str(message.get("type")))
            if handler is None:
                raise _flawed(f"type: there is no {str(message.get('type'))[:80]!r}, only {', '.join(handlers)}")
            await handler(message)
        except (HutchError, errors.Told) as error:
            await self.tell_error(error, id)


def _flawed(words: str) -> errors.Told:
    return errors.Told(400, errors.INVALID, words)


def _read(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise _flawed("the message is not JSON") from None
    if not isinstance(message, dict):
        raise _flawed("the message is not an object")
    return message


def fit(message: dict[str, Any], model: type[Model]) -> Model:
    """A message as `model`."""
    try:
        return model.model_validate_json(json.dumps(message))
    except pydantic.ValidationError as flaws:
        raise _flawed(errors.flaw(flaws.errors(include_url=False)[0])) from None


async def accept(socket: WebSocket, check: Callable[[], object]) -> Conversation | None:
    """Accept it, unless `check` raises: then it is answered as a request is."""
    try:
        check()
    except (HutchError, errors.Told) as error:
        await socket.send_denial_response(errors.response(error, socket))
        return None
    await socket.accept()
    return Conversation(socket)
