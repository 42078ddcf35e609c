"""Who is asking: every path but the public ones needs a known key, also one that leads nowhere."""

from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hutch.api import bearer, service
from hutch.control.keys import Keys
from hutch.model import errors


class Authenticate:
    """ASGI: leaves the `Principal` in the scope, or lets the dialect say why there is none.

    What a key may do is not decided here: control checks the scopes. `find` reads the token from the headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        public: frozenset[str],
        refuse: Callable[[errors.Unauthenticated], Response],
        find: Callable[[Iterable[tuple[bytes, bytes]]], str | None] = bearer.token,
    ) -> None:
        self._app = app
        self._find = find
        self._keys = keys
        self._public = public
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or answer it; a WebSocket likewise, before it is accepted."""
        if scope["type"] in ("http", "websocket") and scope["path"] not in self._public:
            try:
                token = self._find(scope["headers"])
                if token is None:
                    raise errors.Unauthenticated
                scope[service.PRINCIPAL] = self._keys.authenticate(token)
            except errors.Unauthenticated as error:
                await self._refuse(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
