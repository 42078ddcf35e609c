"""The guests' resolver: answers what a machine's policy lets it ask, and admits the addresses it tells.

It runs in the service, on an address that every slot leads its guest's questions to; the source of a question tells
whose it is. Where a policy allows named hosts only, an address is in the slot's rules before the guest has the answer.
Guests are hostile: of each the questions, connections and admissions are bounded, and what makes no sense is answered.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import structlog

from hutch import commands
from hutch.host.network import answers, policy, slot, upstream
from hutch.host.network.slot import Slot
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

log = structlog.get_logger(__name__)

LIMIT = 5.0
"""Seconds until a question is answered, with SERVFAIL if need be."""

PER_SECOND = 100
BURST = 500
"""Questions of one machine: those above are dropped."""

RECORDS = 16
LOAD = 4
"""So many records of an answer count as a question more; a change of rules counts as so many questions more."""

AT_ONCE = 64
CONNECTIONS = 8
"""Questions and TCP connections of one machine at a time."""

QUESTION_BYTES = 4096
IDLE = 10.0
"""Seconds a TCP connection may be silent."""

Load = Callable[[Slot, str], Awaitable[None]]


class Client:
    """A machine that asks, and what it has admitted."""

    def __init__(self, where: Slot, network: NetworkPolicy, load: Load) -> None:
        self.slot = where
        self.policy = network
        self.asking = 0
        self.connections = 0
        self.gone = False
        self._load = load
        self._tokens = float(BURST)
        self._counted = time.monotonic()
        self._admitted: dict[IPv4Address, tuple[int, float]] = {}  # mark, and until when
        self._wanted: dict[IPv4Address, tuple[int, int]] = {}  # mark and seconds
        self._admitting = asyncio.Lock()

    def take(self) -> bool:
        """Whether it may ask one more question now."""
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._counted) * PER_SECOND)
        self._counted = now
        if self.gone or self._tokens < 1 or self.asking >= AT_ONCE:
            return False
        self._tokens -= 1
        return True

    def pay(self, said: dns.message.Message) -> None:
        """A long answer counts as many questions."""
        records = sum(len(rrset) for section in said.sections for rrset in section)
        self._tokens -= records // RECORDS

    async def admit(self, entry: str, addresses: Mapping[IPv4Address, int]) -> None:
        """Returns when all are in the slot's rules for at least these seconds. Those of many answers go there together.

        `NoCapacity` when there are too many, `HutchError` when the rules could not be loaded.
        """
        self._wanted |= {
            address: (policy.mark_of(entry), seconds)
            for address, seconds in addresses.items()
            if not self._has(address, seconds - answers.GRACE_SECONDS)
        }
        async with self._admitting:
            await self._load_wanted()
        if not all(address in self._admitted for address in addresses):
            raise errors.HutchError("the addresses of an answer could not be admitted")

    def _has(self, address: IPv4Address, seconds: int) -> bool:
        """Whether it is admitted for so long, by an entry that is still in the policy."""
        mark, until = self._admitted.get(address, (0, 0.0))
        return until >= time.monotonic() + seconds and mark in policy.marks_of(self.policy.hosts)

    async def _load_wanted(self) -> None:
        wanted, self._wanted = self._wanted, {}
        if self.gone or not wanted:
            return
        now = time.monotonic()
        self._admitted = {address: known for address, known in self._admitted.items() if known[1] > now}
        if len(self._admitted.keys() | wanted.keys()) > policy.MAX_ADMITTED:
            raise errors.NoCapacity(f"more than {policy.MAX_ADMITTED} addresses are admitted")
        self._tokens -= LOAD
        try:
            await self._load(self.slot, policy.admission(wanted))
        except commands.CommandFailed:  # one of them has another mark, of a former policy
            known = {address: (mark, int(until - now) + 1) for address, (mark, until) in self._admitted.items()}
            await self._load(self.slot, policy.admission(known | wanted, anew=True))
        self._admitted |= {address: (mark, now + seconds) for address, (mark, seconds) in wanted.items()}


class Resolver:
    """Answers questions over UDP and TCP. `upstreams` tells whom it asks in turn; `load` puts a script into a slot."""

    def __init__(
        self,
        bounds: policy.Bounds,
        upstreams: upstream.Upstreams | None = None,
        load: Load = slot.run_nft,
        port: int = 53,
    ) -> None:
        self._bounds = bounds
        self._upstreams = upstreams or upstream.ResolvConf()
        self._load = load
        self._port = port
        self._clients: dict[str, Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. `Unsupported` where that is not possible."""
        address = str(self._bounds.resolver)
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(address, self._port)
            )
            self._server = await asyncio.start_server(self._take_up, address, self._port, limit=QUESTION_BYTES)
        except OSError as error:
            await self.close()
            raise errors.Unsupported(
                f"the machines' resolver cannot listen at {address}:{self._port}: {error}"
            ) from None

    async def close(self) -> None:
        """Stop listening, and drop what is not answered yet."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def register(self, outside: IPv4Address, where: Slot, network: NetworkPolicy) -> None:
        """Questions from this address are from now on those of the machine in a slot, under a policy."""
        client = self._clients.get(str(outside))
        if client is not None and client.slot == where:
            client.policy = network
        else:
            self.forget(outside)
            self._clients[str(outside)] = Client(where, network, self._load)

    def forget(self, outside: IPv4Address) -> None:
        """Questions from this address are dropped. No error if there were none."""
        client = self._clients.pop(str(outside), None)
        if client is not None:
            client.gone = True

    def ask(self, wire: bytes, source: tuple[str, int]) -> None:
        """Answer a datagram, later."""
        client = self._clients.get(source[0])
        if client is not None and client.take():
            client.asking += 1
            self._spawn(self._answer_datagram(client, wire, source))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, client: Client, wire: bytes, source: tuple[str, int]) -> None:
        try:
            said = await self._answer(client, wire, answers.UDP_PAYLOAD)
        finally:
            client.asking -= 1
        if said is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(said, source)

    def _take_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: question after question, until it is silent for long or asks too much."""
        writer.transport.set_write_buffer_limits(0)  # `drain` returns when all is the kernel's
        client = self._clients.get((writer.get_extra_info("peername") or ("",))[0])
        try:
            if client is not None and client.connections < CONNECTIONS:
                client.connections += 1
                try:
                    with contextlib.suppress(OSError, EOFError, TimeoutError):
                        while await self._answer_next(client, reader, writer):
                            pass
                finally:
                    client.connections -= 1
        finally:
            writer.transport.abort()

    async def _answer_next(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(IDLE):
            size = int.from_bytes(await reader.readexactly(2))
            if size > QUESTION_BYTES:
                return False
            wire = await reader.readexactly(size)
        if not client.take():
            return False
        client.asking += 1
        try:
            said = await self._answer(client, wire, 65535)
        finally:
            client.asking -= 1
        if said is None:
            return False
        async with asyncio.timeout(IDLE):
            writer.write(len(said).to_bytes(2) + said)
            await writer.drain()
        return True

    async def _answer(self, client: Client, wire: bytes, most: int) -> bytes | None:
        """The answer to a message, in at most so many bytes; None to what is no question."""
        if len(wire) < 12 or wire[2] & 0x80:
            return None
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return answers.bare(wire, dns.rcode.FORMERR)
        if query.opcode() != dns.opcode.QUERY:
            return answers.bare(wire, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return answers.bare(wire, dns.rcode.FORMERR)
        try:
            async with asyncio.timeout(LIMIT):
                response = await self._resolve(client, query)
            if most <= answers.UDP_PAYLOAD:
                most = min(most, max(query.payload, 512))
            return response.to_wire(max_size=most, prefer_truncation=True)
        except (TimeoutError, dns.exception.DNSException, errors.HutchError, OSError) as error:
            log.debug("a guest's question is not answered", namespace=client.slot.namespace, error=str(error))
        except Exception:
            log.exception("a guest's question could not be handled", namespace=client.slot.namespace)
        return answers.bare(wire, dns.rcode.SERVFAIL)

    async def _resolve(self, client: Client, query: dns.message.Message) -> dns.message.Message:
        network = client.policy
        verdict = answers.judge(network, query)
        if not verdict.forward:
            return answers.answer(query, verdict.rcode)
        if network.mode is not NetworkMode.OPEN:
            query.ednsflags &= ~dns.flags.DO  # signatures of an answer that is filtered are worth nothing
        said = await upstream.ask(self._upstreams, query)
        client.pay(said)
        if network.mode is NetworkMode.OPEN:
            return answers.passed_on(query, said)
        response, addresses = answers.filtered(query, said, network, self._bounds)
        if addresses and verdict.entry is not None:
            await client.admit(verdict.entry, addresses)
        return response


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._resolver.ask(data, addr)
