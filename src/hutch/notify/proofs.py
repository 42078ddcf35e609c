"""Proofs of whose a name is, read from the DNS and over HTTP."""

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import httpx

from hutch.notify.http import HttpSender
from hutch.notify.interface import NotSent

LIMIT = 5.0
"""Seconds a name server has to answer."""

WANTED = 1024
"""Bytes of a page that are read."""


class NetProofs:
    """Implements `hutch.notify.interface.Proofs`.

    `resolver`: ADDRESS[:PORT] of the DNS server to ask; empty: the host's own. `http_port`: where pages are read.
    """

    def __init__(self, sender: HttpSender, resolver: str = "", http_port: int = 80) -> None:
        self._sender = sender
        self._resolver = resolver
        self._http_port = http_port

    async def texts(self, name: str) -> Sequence[str]:
        try:
            answer = await self._make_resolver().resolve(
                dns.name.from_text(f"{name}."), dns.rdatatype.TXT, lifetime=LIMIT, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            return []
        except dns.exception.Timeout:
            raise NotSent(f"no name server answered within {LIMIT:g} s") from None
        except (dns.exception.DNSException, OSError, EOFError):
            raise NotSent("its name servers cannot answer") from None
        return [b"".join(record.strings).decode(errors="replace") for record in answer.rrset or ()]

    def _make_resolver(self) -> dns.asyncresolver.Resolver:
        """As this host is configured now; without a cache."""
        if not self._resolver:
            return dns.asyncresolver.Resolver()
        address, _, port = self._resolver.partition(":")
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [address], int(port or 53)
        return resolver

    async def page(self, url: str) -> str:
        status, body = await self._sender.get(str(httpx.URL(url).copy_with(port=self._http_port)), WANTED)
        if status != 200:
            raise NotSent(f"it answered {status}")
        return body.decode(errors="replace")
