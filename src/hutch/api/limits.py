"""How often a key may ask: counted for every request but those that run commands, which are never refused for it."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hutch.api import service
from hutch.control.rates import Rates
from hutch.model import errors

REMAINING = b"x-ratelimit-remaining"


class Limit:
    """ASGI, behind `auth.Authenticate`. `is_free` tells which paths run commands; `refuse` words the refusal."""

    def __init__(
        self,
        app: ASGIApp,
        rates: Rates,
        is_free: Callable[[str], bool],
        refuse: Callable[[errors.RateLimited], Response],
    ) -> None:
        self._app = app
        self._rates = rates
        self._is_free = is_free
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or say when to come back."""
        caller = scope.get(service.PRINCIPAL)
        if caller is None or self._is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            left = self._rates.take(caller)
        except errors.RateLimited as error:
            await self._refuse(error)(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REMAINING, str(left).encode())]
            await send(message)

        await self._app(scope, receive, send if left is None else counted)
