"""Messages over HTTP. A name is resolved once per message and every address it has is looked at; the connection goes
to one of those, so that a name that means something else a moment later leads nowhere else.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from hutch.model import errors
from hutch.notify import addresses
from hutch.notify.interface import NotSent

RESOLVE_LIMIT = 5.0
"""Seconds a name may take to be resolved when a URL is only looked at."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Refuse = Callable[[str], str | None]
"""What is wrong with an address."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, and how much of the answer's body is read."""

    method: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    wanted: int = 0


async def resolve(host: str, port: int) -> Sequence[str]:
    """The IP addresses a name has, the one to try first being first. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class HttpSender:
    """Implements `hutch.notify.interface.Sender`. `allow_local`: any address may be reached."""

    def __init__(self, allow_local: bool = False, resolve: Resolve = resolve) -> None:
        self._allow_local = allow_local
        self._resolve = resolve

    async def check(self, url: str) -> None:
        parsed = _parse(url)
        try:
            async with asyncio.timeout(RESOLVE_LIMIT):
                found = await self._resolve(_host(parsed), _port(parsed))
        except (OSError, UnicodeError, TimeoutError):
            return
        refused = self._find_refused(found, addresses.why_refused)
        if refused is not None:
            raise errors.InvalidRequest(f"url leads to {refused}: {_ALLOWED}")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        status, _ = await self._send(url, Message("POST", headers, body), addresses.why_refused)
        return status

    async def get(self, url: str, most: int) -> tuple[int, bytes]:
        """Status and at most so many bytes of the body. As `post`, but private addresses may not be reached either."""
        return await self._send(url, Message("GET", wanted=most), addresses.why_unread)

    async def _send(self, url: str, message: Message, why_refused: Refuse) -> tuple[int, bytes]:
        try:
            parsed = _parse(url)
        except errors.InvalidRequest as error:
            raise NotSent(error.message) from None
        try:
            found = await self._resolve(_host(parsed), _port(parsed))
        except (OSError, UnicodeError) as error:
            raise NotSent(f"its name cannot be resolved: {getattr(error, 'strerror', None) or 'malformed'}") from None
        refused = self._find_refused(found, why_refused)
        if refused is not None:
            raise NotSent(f"it leads to {refused}, which may not be reached")
        return await self._send_to_one(parsed, found, message)

    def _find_refused(self, found: Sequence[str], why_refused: Refuse) -> str | None:
        if self._allow_local:
            return None
        return next((why for address in found if (why := why_refused(address)) is not None), None)

    async def _send_to_one(self, url: httpx.URL, found: Sequence[str], message: Message) -> tuple[int, bytes]:
        """Of the first address that takes the connection."""
        error: httpx.HTTPError | None = None
        for address in found:
            try:
                return await _send(url, address, message)
            except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
                error = failed
            except httpx.HTTPError as failed:
                raise NotSent(_told(failed)) from None
        raise NotSent(_told(error) if error is not None else "its name has no address")


async def _send(url: httpx.URL, address: str, message: Message) -> tuple[int, bytes]:
    # A transport, and no client: no redirects, cookies, proxies or credentials from the environment.
    async with httpx.AsyncHTTPTransport(verify=_ssl_context()) as transport:
        request = httpx.Request(
            message.method,
            url.copy_with(host=address),
            headers={**message.headers, "Host": url.netloc.decode("ascii")},
            content=message.body,
            extensions={"sni_hostname": _host(url)},
        )
        response = await transport.handle_async_request(request)
        try:
            return response.status_code, await _read(response, message.wanted)
        finally:
            await response.aclose()


async def _read(response: httpx.Response, wanted: int) -> bytes:
    """The beginning of the body as it is sent; nothing is unpacked."""
    body = b""
    if wanted:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= wanted:
                break
    return body[:wanted]


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise errors.InvalidRequest("url is malformed: use https://HOST/PATH") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise errors.InvalidRequest("url: use http:// or https:// and a host")
    if parsed.userinfo or parsed.fragment:
        raise errors.InvalidRequest("url: a user, a password or a fragment cannot be part of it")
    return parsed


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _told(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


_ALLOWED = "webhooks may not reach this host or its link; HUTCH_WEBHOOKS_ALLOW_LOCAL allows it to all tenants"
