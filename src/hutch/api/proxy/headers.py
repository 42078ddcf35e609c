"""Which headers pass through the proxy and which it makes itself (RFC 9110, 7.6; RFC 9112, 6). Pure.

Nothing of how a message is framed on one side is taken over on the other: the length is stated anew, once.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from hutch.model import errors

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
_OURS = frozenset((b"content-length", b"expect", b"host", b"x-machine-id", b"x-forwarded-prefix"))
"""Of a request, besides: stated anew. `Expect` is dealt with here, by asking for the body when it is wanted."""

_TOLD = frozenset((b"forwarded", b"x-real-ip"))
"""With all of `X-Forwarded-`, what only a trusted front may say about the client."""

_HOST = re.compile(rb"[A-Za-z0-9._~-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_NO_LENGTH = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, as the guest is told."""

    addresses: bytes  # X-Forwarded-For
    host: bytes
    scheme: bytes  # http or https
    is_trusted: bool  # the peer is a front of ours, whose own words count


def get(headers: Headers, name: bytes) -> bytes | None:
    """The first of that name."""
    return next((value for found, value in headers if found == name), None)


def client(scope: Any, has_front: bool) -> Client:
    """Who asks. With `has_front` a peer on loopback is the front (Caddy, nginx) and is believed; nobody else ever is.

    `InvalidRequest` for a `Host` that is none, or is more than one.
    """
    peer = (scope.get("client") or ("unknown", 0))[0]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    host = hosts[0] if hosts else b""
    if len(hosts) > 1 or (host and not _HOST.fullmatch(host)):
        raise errors.InvalidRequest("the Host header is malformed")
    if not (has_front and _is_loopback(peer)):
        return Client(peer.encode(), host, b"http", False)
    told = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    forwarded_host = get(scope["headers"], b"x-forwarded-host") or host
    scheme = get(scope["headers"], b"x-forwarded-proto") or b"http"
    return Client(
        b", ".join([*told, peer.encode()]),
        forwarded_host if _HOST.fullmatch(forwarded_host) else host,
        scheme if scheme in (b"http", b"https") else b"http",
        True,
    )


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def framing(headers: Headers) -> Headers:
    """How the body of a request is framed onwards: the header that says so, none if there is no body.

    `InvalidRequest` for what two readers could read differently.
    """
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    lengths = [value.strip() for name, value in headers if name == b"content-length"]
    if codings and (codings != [b"chunked"] or lengths):
        raise errors.InvalidRequest("the request's Transfer-Encoding is not understood")
    if codings:
        return [(b"transfer-encoding", b"chunked")]
    if lengths and (len(lengths) > 1 or not lengths[0].isdigit()):
        raise errors.InvalidRequest("the request's Content-Length is not understood")
    return [(b"content-length", lengths[0])] if lengths else []


def _end_to_end(headers: Headers) -> Headers:
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    return [it for it in headers if it[0] not in _HOP_BY_HOP and it[0] not in named]


def request(headers: Headers, asker: Client, machine: str, prefix: bytes) -> Headers:
    """What the guest is sent, but for `Host` and the framing. `prefix` is what was taken off the path."""
    kept = [
        (name, value)
        for name, value in _end_to_end(headers)
        if name not in _OURS
        and not name.startswith(b"sec-websocket-")
        and (asker.is_trusted or not (name in _TOLD or name.startswith(b"x-forwarded-")))
        and name not in (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
    ]
    added = [
        (b"x-forwarded-for", asker.addresses),
        (b"x-forwarded-host", asker.host),
        (b"x-forwarded-proto", asker.scheme),
        (b"x-machine-id", machine.encode()),
    ]
    if prefix:
        added.append((b"x-forwarded-prefix", prefix))
    return kept + added


def answer(headers: Headers, status: int, cookie: bytes) -> Headers:
    """What the client is sent of a guest's answer. No guest sets the cookie of that name, which is the proxy's own."""
    return [
        (name, value)
        for name, value in _end_to_end(headers)
        if name != b"date"  # the server states its own
        and not name.startswith(b"sec-websocket-")
        and not (name == b"content-length" and status in _NO_LENGTH)
        and not (name == b"set-cookie" and value.partition(b"=")[0].strip() == cookie)
    ]


def head(method: str, path: bytes, headers: Headers) -> bytes:
    """The bytes that a request begins with. `InvalidRequest` if anything in it would end a line early."""
    lines = [method.encode() + b" " + path + b" HTTP/1.1", *(name + b": " + value for name, value in headers)]
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines) or b" " in path:
        raise errors.InvalidRequest("the request has a line end where none may be")
    return b"\r\n".join([*lines, b"connection: close", b"\r\n"])
