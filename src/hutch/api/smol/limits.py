"""How often a key may ask: counted for every request but those that run commands, which are never refused for it."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hutch.api import service
from hutch.api.smol import errors as wording
from hutch.control.rates import Rates
from hutch.model import errors

REMAINING = b"x-ratelimit-remaining"

_FREE = re.compile(r"/v1/machines/[^/]+/(exec(/stream|/interactive)?|code|sessions/[^/]+/exec|processes/[\s\S]+)")


def is_free(path: str) -> bool:
    """Whether a request runs a command, or goes on with one that runs. Pure."""
    return _FREE.fullmatch(path) is not None


class Limit:
    """ASGI, behind `auth.Authenticate`: see the module."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or say when to come back."""
        caller = scope.get(service.PRINCIPAL)
        if caller is None or is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            left = self._rates.take(caller)
        except errors.RateLimited as error:
            await wording.response(error)(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REMAINING, str(left).encode())]
            await send(message)

        await self._app(scope, receive, send if left is None else counted)
