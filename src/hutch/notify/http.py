"""Messages over HTTP. A name is resolved once per message and every address it has is looked at; the connection goes
to one of those, so that a name that means something else a moment later leads nowhere else.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx

from hutch.model import errors
from hutch.notify import addresses
from hutch.notify.interface import NotSent

RESOLVE_LIMIT = 5.0
"""Seconds a name may take to be resolved when a URL is only looked at."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


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
        refused = self._why_refused(found)
        if refused is not None:
            raise errors.InvalidRequest(f"url leads to {refused}: {_ALLOWED}")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        try:
            parsed = _parse(url)
        except errors.InvalidRequest as error:
            raise NotSent(error.message) from None
        try:
            found = await self._resolve(_host(parsed), _port(parsed))
        except (OSError, UnicodeError) as error:
            raise NotSent(f"its name cannot be resolved: {getattr(error, 'strerror', None) or 'malformed'}") from None
        refused = self._why_refused(found)
        if refused is not None:
            raise NotSent(f"it leads to {refused}, which may not be reached")
        return await self._post_to_one(parsed, found, headers, body)

    def _why_refused(self, found: Sequence[str]) -> str | None:
        if self._allow_local:
            return None
        return next((why for address in found if (why := addresses.why_refused(address)) is not None), None)

    async def _post_to_one(self, url: httpx.URL, found: Sequence[str], headers: Mapping[str, str], body: bytes) -> int:
        """Of the first address that takes the connection."""
        error: httpx.HTTPError | None = None
        for address in found:
            try:
                return await _post(url, address, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
                error = failed
            except httpx.HTTPError as failed:
                raise NotSent(_told(failed)) from None
        raise NotSent(_told(error) if error is not None else "its name has no address")


async def _post(url: httpx.URL, address: str, headers: Mapping[str, str], body: bytes) -> int:
    # A transport, and no client: no redirects, cookies, proxies or credentials from the environment.
    async with httpx.AsyncHTTPTransport(verify=_ssl_context()) as transport:
        request = httpx.Request(
            "POST",
            url.copy_with(host=address),
            headers={**headers, "Host": url.netloc.decode("ascii")},
            content=body,
            extensions={"sni_hostname": _host(url)},
        )
        response = await transport.handle_async_request(request)
        await response.aclose()
        return response.status_code


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
