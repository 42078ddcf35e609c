"""A guest, its slot and the world, as three network namespaces of the test's own, with real packets between them.

The guest's end of a veth pair stands for the machine and the other end, `tap0`, for its tap. In the world every address
is there, so that only rules keep a packet from its target: echo servers listen, a name server that knows the names in
`ZONE`, and the resolver that is tested. Nothing leaves these namespaces.
"""

import asyncio
import contextlib
import ctypes
import errno
import itertools
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from ipaddress import IPv4Network
from typing import Any, TypeVar

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import uvloop

from hutch.host.network import policy, resolver, rules, slot
from hutch.model.machine import NetworkPolicy

T = TypeVar("T")
LIMIT = 30.0
ECHO = 80
UPSTREAM = "9.9.9.9"  # the world's name server, and another resolver than ours for the guest
PLAN = slot.Plan("hutch-test", IPv4Network("10.213.0.0/20"))
BOUNDS = policy.Bounds.of(PLAN.resolver, PLAN.network, "10.50.0.0/16, 10.213.8.0/24")

ZONE = """\
example.org. 5 A 93.184.216.34
deep.down.example.org. 300 A 93.184.216.35
www.example.org. 60 CNAME edge.cdn.net.
edge.cdn.net. 60 A 93.184.216.40
rebind.example.org. 60 A 127.0.0.1
rebind.example.org. 60 A 10.9.9.9
rebind.example.org. 60 A 169.254.169.254
mixed.example.org. 60 A 10.9.9.9
mixed.example.org. 60 A 93.184.216.42
alias.example.org. 60 CNAME inside.evil.net.
inside.evil.net. 60 A 192.168.9.9
loop.example.org. 60 CNAME pool.example.org.
pool.example.org. 60 CNAME loop.example.org.
evil.net. 60 A 93.184.216.66
both.example.org. 60 A 93.184.216.43
both.example.org. 60 AAAA 2001:db8::1
both.example.org. 60 TXT "hello"
both.example.org. 60 HTTPS 1 . ipv4hint=93.184.216.99
both.example.org. 60 MX 10 mail.example.org.
long.example.org. 1000000 A 93.184.216.44
"""

ADDRESSES = (
    "93.184.216.34",
    "93.184.216.35",
    "93.184.216.40",
    "93.184.216.42",
    "93.184.216.43",
    "93.184.216.66",
    "8.8.8.8",
    "10.9.9.9",
    "10.50.0.9",
    "10.213.0.9",
    "10.213.8.9",
    "10.213.0.2",
    "100.64.0.9",
    "169.254.169.254",
    "172.16.0.9",
    "192.168.9.9",
    "198.18.0.9",
    "0.1.2.3",
    "255.255.255.255",
    "224.0.0.9",
    "240.0.0.9",
)

_FAST = ("net.ipv4.icmp_ratelimit=0",)  # every refusal is told

_numbers = itertools.count(1)

_setns = ctypes.CDLL(None, use_errno=True).setns


def within(namespace: str, work: Callable[[], T]) -> T:
    """What a function gives or raises that runs in a namespace, in a thread of its own."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            _enter(namespace)
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(2 * LIMIT)


def _enter(namespace: str) -> None:
    with (slot.NAMESPACES / namespace).open() as file:
        if _setns(file.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def _answers() -> dict[tuple[dns.name.Name, int], dns.rrset.RRset]:
    found: dict[tuple[dns.name.Name, int], dns.rrset.RRset] = {}
    for line in ZONE.splitlines():
        name, ttl, kind, text = line.split(" ", 3)
        one = dns.rrset.from_text(name, int(ttl), "IN", kind, text)
        key = (one.name, one.rdtype)
        found.setdefault(key, dns.rrset.RRset(one.name, one.rdclass, one.rdtype)).update(one)
    return found


class NameServer(asyncio.DatagramProtocol):
    """Answers from `ZONE`, following aliases as a recursive resolver does; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._zone = _answers()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self.answer(dns.message.from_wire(data))
        if answer is not None:
            self._transport.sendto(answer.to_wire(max_size=1232, prefer_truncation=True), addr)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            answer = self.answer(dns.message.from_wire(wire))
            if answer is not None:
                said = answer.to_wire(max_size=65535)
                writer.write(len(said).to_bytes(2) + said)
                await writer.drain()
        writer.close()

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        self.asked.append(question.name.to_text())
        response = dns.message.make_response(query, recursion_available=True)
        name = question.name
        label = name.labels[0].decode().lower()
        if label == "silent":
            return None
        if label.startswith("many"):  # many-1500: so many addresses, from 93.190.0.1 on
            hosts = [f"93.190.{number // 250}.{number % 250 + 1}" for number in range(int(label.removeprefix("many-")))]
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", hosts))
            return response
        if label.startswith("n"):  # n17: an address of its own
            with contextlib.suppress(ValueError):
                number = int(label[1:])
                host = f"93.19{1 + number // 62500}.{number % 62500 // 250}.{number % 250 + 1}"
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", host))
                return response
        for _ in range(4):
            if (found := self._zone.get((name, question.rdtype))) is not None:
                response.answer.append(found)
                return response
            if (alias := self._zone.get((name, dns.rdatatype.CNAME))) is None:
                break
            response.answer.append(alias)
            name = alias[0].target
        if not response.answer and not any(known == name for known, _ in self._zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


class World:
    """The three namespaces, and what runs in them."""

    def __init__(self) -> None:
        tag = f"hutch-test-{os.getpid()}"
        self.guest, self.inside, self.outside = f"{tag}-guest", f"{tag}-slot", f"{tag}-world"
        planned = PLAN.slot(0)
        self.slot = slot.Slot(0, self.inside, "up0", planned.outside, planned.host_side)
        self.names = NameServer()
        self.resolver = resolver.Resolver(BOUNDS, lambda: [(UPSTREAM, 53)], load=self._load)
        self.loads = 0
        self.received = 0  # bytes that the sink has taken
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def _load(self, where: slot.Slot, script: str) -> None:
        self.loads += 1
        await slot.run_nft(where, script)

    def open(self) -> None:
        for namespace in (self.guest, self.inside, self.outside):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", self.inside, "link", "add", "tap0", "type", "veth", "peer", "name", "eth0", "netns", self.guest)
        _ip("-n", self.inside, "link", "add", "eth0", "type", "veth", "peer", "name", "up0", "netns", self.outside)
        for namespace, link, addresses in (
            (self.guest, "eth0", ["10.0.2.15/24"]),
            (self.inside, "tap0", ["10.0.2.2/24", "10.0.2.3/32"]),
            (self.inside, "eth0", [f"{self.slot.outside}/31"]),
            (self.outside, "up0", [f"{self.slot.host_side}/31"]),
        ):
            for address in addresses:
                _ip("-n", namespace, "addr", "add", address, "dev", link)
            _ip("-n", namespace, "link", "set", link, "up")
        _ip("-n", self.guest, "route", "add", "default", "via", "10.0.2.2")
        _ip("-n", self.inside, "route", "add", "default", "via", str(self.slot.host_side))
        _ip("-n", self.outside, "route", "add", "local", "0.0.0.0/0", "dev", "lo")
        _run("ip", "netns", "exec", self.inside, "sysctl", "-qw", "net.ipv4.ip_forward=1", *_FAST)
        _run("ip", "netns", "exec", self.inside, "nft", "-f", "-", stdin=rules.of_slot(self.slot, PLAN))
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, args=(ready,), daemon=True)
        self._thread.start()
        ready.result(LIMIT)
        self.put_under(NetworkPolicy())

    def close(self) -> None:
        if self._thread is not None and self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(LIMIT)
        for namespace in (self.guest, self.inside, self.outside):
            if (slot.NAMESPACES / namespace).exists():
                _ip("netns", "del", namespace)

    def _live(self, ready: Future[None]) -> None:
        try:
            _enter(self.outside)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as opened:
            for address in ADDRESSES:
                if address.startswith(("255", "224", "0.")):
                    continue
                for port in (ECHO, 53):
                    transport, _ = await self._loop.create_datagram_endpoint(_Echo, local_addr=(address, port))
                    opened.callback(transport.close)
            transport, _ = await self._loop.create_datagram_endpoint(lambda: self.names, local_addr=(UPSTREAM, 53))
            opened.callback(transport.close)
            for handler, address, port in (
                (self.names.converse, UPSTREAM, 53),
                (self._echo, "0.0.0.0", ECHO),
                (self._echo, "0.0.0.0", 853),
                (self._sink, "0.0.0.0", 9),
            ):
                server = await asyncio.start_server(handler, address, port)
                opened.callback(server.close)
            await self.resolver.open()
            opened.push_async_callback(self.resolver.close)
            ready.set_result(None)
            await self._over.wait()
            async with asyncio.timeout(LIMIT):
                while self._writers:  # aborted, their handlers end; cancelled, they would complain
                    for writer in self._writers:
                        writer.transport.abort()
                    await asyncio.sleep(0.01)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    async def _sink(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.received += len(data)
        self._writers.discard(writer)
        writer.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Where the service is."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def put_under(self, network: NetworkPolicy) -> None:
        """Put the guest under a policy, as the host does."""

        async def put() -> None:
            await policy.apply(self.slot, network, BOUNDS)
            self.resolver.register(self.slot.outside, self.slot, network)

        self.do(put())

    def forget_admitted(self) -> None:
        """As a new slot is."""

        async def forget() -> None:
            self.resolver.forget(self.slot.outside)
            await slot.run_nft(self.slot, "flush map inet hutch-policy admitted\n")

        self.do(forget())

    def forget_client(self) -> None:
        """As a service that was started anew has."""

        async def forget() -> None:
            self.resolver.forget(self.slot.outside)

        self.do(forget())

    def renew(self) -> None:
        """The guest may ask as much as one that has not asked yet."""
        self.forget_client()
        self.put_under(NetworkPolicy())

    async def say_to_all(self, text: bytes) -> None:
        """On every connection that the echo server has."""
        for writer in self._writers:
            writer.write(text)

    def in_guest(self, work: Callable[[], T]) -> T:
        return within(self.guest, work)

    def reach(self, protocol: str, address: str, port: int = ECHO) -> str:
        """`answered`, or how it failed: `refused` at once, or `silent`."""
        return self.in_guest(lambda: _REACH[protocol](address, port))

    def ask(
        self, name: str, kind: str = "A", server: str = "10.0.2.3", over: str = "udp", limit: float = LIMIT
    ) -> dns.message.Message:
        """What a resolver says to the guest."""
        ask = dns.query.tcp if over == "tcp" else dns.query.udp
        return self.in_guest(lambda: ask(dns.message.make_query(name, kind), server, timeout=limit))

    def tc(self, *words: str) -> str:
        return _run("ip", "netns", "exec", self.inside, "tc", *words)

    def ip(self, *words: str) -> str:
        return _run("ip", "-n", self.inside, *words)

    def nft(self, *words: str) -> str:
        return _run("ip", "netns", "exec", self.inside, "nft", *words)


_REFUSED = (errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EACCES, errno.EINVAL)


def _failed(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "silent"
    if error.errno in _REFUSED:
        return "refused"
    raise error


def _reach_tcp(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=LIMIT) as connection:
            connection.sendall(b"hello")
            return "answered" if connection.recv(5) == b"hello" else "closed"
    except OSError as error:
        return _failed(error)


def _reach_udp(address: str, port: int) -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(LIMIT)
            connection.connect((address, port))
            connection.send(dns.message.make_query("example.org", "A").to_wire())
            return "answered" if connection.recv(100) else "closed"
    except OSError as error:
        return _failed(error)


def _reach_icmp(address: str, port: int) -> str:
    """An echo request, with an id of its own: by that conntrack tells them apart."""
    number = next(_numbers)
    packet = struct.pack("!BBHHH", 8, 0, ~(0x0800 + number + 1) & 0xFFFF, number, 1)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as connection:
            connection.settimeout(LIMIT)
            connection.sendto(packet, (address, 0))
            while True:
                said = connection.recv(1500)[20:]
                if said[0] == 0 and said[4:6] == number.to_bytes(2):
                    return "answered"
                if said[0] == 3:
                    return "refused"
    except OSError as error:
        return _failed(error)


_REACH: dict[str, Callable[[str, int], str]] = {
    "tcp": _reach_tcp,
    "udp": _reach_udp,
    "icmp": _reach_icmp,
}


def _run(*argv: str, stdin: str | None = None) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def _ip(*words: str) -> None:
    _run("ip", *words)
