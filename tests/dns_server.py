"""A DNS server on loopback that knows only what a test puts there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Zone(asyncio.DatagramProtocol):
    """TXT records by name, in lower case; other names do not exist. `is_silent`: it answers nothing."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.is_silent = False
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.is_silent or self._transport is None:
            return
        query = dns.message.from_wire(data)
        (question,) = query.question
        found = self.texts.get(question.name.to_text(omit_final_dot=True).lower())
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found and question.rdtype == dns.rdatatype.TXT:
            quoted = [f'"{text}"' for text in found]
            response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "TXT", *quoted))
        self._transport.sendto(response.to_wire(), addr)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Zone]:
    """A zone that answers within."""
    transport, zone = await asyncio.get_running_loop().create_datagram_endpoint(Zone, local_addr=("127.0.0.1", 0))
    zone.port = transport.get_extra_info("sockname")[1]
    try:
        yield zone
    finally:
        transport.close()
