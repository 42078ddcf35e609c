"""What a request brings along to be let in, taken out of it: none of it may reach a guest. Pure.

A traffic token comes in a header, in the query (a link; then it is kept in a cookie) or in that cookie; an API key as
a bearer token or in `X-API-Key`. A key is ours if it is known here: every other `Authorization` is the app's own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from hutch.api.proxy.headers import Headers
from hutch.control.exposure import TOKEN_PARAMETER, Visitor
from hutch.control.keys import Principal
from hutch.model import errors

HEADERS = frozenset((b"x-hutch-traffic-token", b"x-nullspace-traffic-access-token", b"x-nullspace-preview-proxy-token"))
COOKIE = b"hutch_traffic_token"

_MOST_COOKIES = 16
"""Others' pages can set such cookies too, for all machines' names at once: which one is good is tried."""

_PARAMETER = TOKEN_PARAMETER.encode() + b"="
_TOKEN = re.compile(rb"[A-Za-z0-9_.-]{1,512}")


@dataclass(frozen=True, slots=True)
class Request:
    """A request without it."""

    visitor: Visitor
    headers: Headers
    query: bytes
    linked: bytes | None = None  # the token that was in the query

    def cookie(self, path: bytes, is_https: bool) -> bytes | None:
        """The `Set-Cookie` that keeps the token of a link for everything below `path`."""
        if self.linked is None:
            return None
        secure = b"; Secure" if is_https else b""
        return COOKIE + b"=" + self.linked + b"; Path=" + path + b"; HttpOnly; SameSite=Lax" + secure


def read(headers: Headers, query: bytes, host: bytes, authenticate: Callable[[str], Principal]) -> Request:
    """Take it out. `host`: that is asked. `authenticate` raises `UnknownKey` for what is no key of ours."""
    kept: Headers = []
    principal: Principal | None = None
    named: bytes | None = None
    page: str | None = None
    cookies: list[bytes] = []
    for name, value in headers:
        if name in HEADERS:
            named = named or _token(value)
        elif name == b"cookie":
            rest = _take_cookie(value, cookies)
            kept += [(name, rest)] if rest else []
        elif name == b"referer":  # a page whose own address has it
            address, mark, its_query = value.partition(b"?")
            kept.append((name, address + mark + _take_parameter(its_query)[0]))
        elif (key := _key(name, value)) and (found := _known(key, authenticate)):
            principal = principal or found
        else:
            if name == b"origin":
                page = page or _other(value, host)
            kept.append((name, value))
    rest, linked = _take_parameter(query)
    token = named or linked
    kept_tokens = tuple(it.decode() for it in cookies[:_MOST_COOKIES])
    return Request(Visitor(token.decode() if token else None, principal, kept_tokens, page), kept, rest, linked)


def _token(value: bytes) -> bytes | None:
    return value if _TOKEN.fullmatch(value) else None


def _other(origin: bytes, host: bytes) -> str | None:
    """The host of an `Origin`; None if it is the one that is asked, or `null`."""
    its = origin.partition(b"://")[2].lower()
    return its.decode("latin-1") if its and its != host.lower() else None


def _key(name: bytes, value: bytes) -> str | None:
    if name == b"x-api-key":
        return value.strip().decode("latin-1")
    if name == b"authorization" and value[:7].lower() == b"bearer ":
        return value[7:].strip().decode("latin-1")
    return None


def _known(key: str, authenticate: Callable[[str], Principal]) -> Principal | None:
    try:
        return authenticate(key)
    except errors.UnknownKey:
        return None


def _take_cookie(value: bytes, tokens: list[bytes]) -> bytes:
    kept = []
    for pair in value.split(b";"):
        name, _, token = pair.strip().partition(b"=")
        if name != COOKIE:
            kept.append(pair.strip())
        elif found := _token(token):
            tokens.append(found)
    return b"; ".join(kept)


def _take_parameter(query: bytes) -> tuple[bytes, bytes | None]:
    if _PARAMETER not in query:
        return query, None
    parts = query.split(b"&")
    tokens = [_token(unquote_to_bytes(part[len(_PARAMETER) :])) for part in parts if part.startswith(_PARAMETER)]
    rest = b"&".join(part for part in parts if not part.startswith(_PARAMETER))
    return rest, tokens[0] if tokens else None
