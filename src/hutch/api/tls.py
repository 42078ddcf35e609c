"""What a TLS front on this host asks before it has a certificate made for a name: whether that is one of ours.

Without a key, so only a peer on loopback that speaks for nobody else is answered; to anybody else there is no such
path. The answer is looked up in memory.
"""

import ipaddress
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hutch.control.domains import Certificates

PATH = "/internal/tls/ask"


class Ask:
    """ASGI: answers `GET /internal/tls/ask?domain=NAME` with 200 or 404, and hands on everything else."""

    def __init__(self, certificates: Certificates, app: ASGIApp) -> None:
        self._certificates = certificates
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or hand on."""
        if scope["type"] != "http" or scope["path"] != PATH or not _is_front(scope):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        names = parse_qs(query, max_num_fields=8).get("domain", []) if query.count("&") < 8 else []
        is_wanted = len(names) == 1 and self._certificates.is_wanted(names[0])
        await Response(status_code=200 if is_wanted else 404)(scope, receive, send)


def _is_front(scope: Scope) -> bool:
    """Whether it is on this host, and no proxy of somebody else's request."""
    peer = (scope.get("client") or ("", 0))[0]
    try:
        is_here = ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
    return is_here and not any(name in (b"x-forwarded-for", b"forwarded") for name, _ in scope["headers"])
