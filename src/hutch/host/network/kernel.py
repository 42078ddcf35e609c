"""What slots are made of in the kernel: namespaces, taps, links, addresses. Blocking; for threads of their own.

A thread can be in another network namespace than the rest of its process. So the one that makes slots goes into a new
one, makes what has to be there, and comes back; nothing is started for it, and a slot takes some milliseconds.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hutch.host.network.slot import NAMESPACES, PREFIX, Plan, Slot, blocks
from hutch.host.qemu import guest_network
from hutch.model import errors

LOCK = Path("/run/hutch-networks.lock")
"""Held while a service takes its network or gives it back: others on this box do so too."""

LOCK_LIMIT = 60.0
"""Seconds until a service that has it is taken for stuck."""

GATEWAY_MAC = "52:55:0a:00:02:02"
"""Of every tap, and of QEMU's user network: a guest that goes on in another slot remembers that of its former one."""

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

_NEW_NET = 0x40000000  # CLONE_NEWNET, from linux/sched.h
_BIND, _RECURSIVE, _SHARED, _DETACH = 4096, 16384, 1 << 20, 2  # MS_* and MNT_DETACH, from sys/mount.h
_TUNSETIFF, _TAP_WITHOUT_HEADER = 0x400454CA, 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI, from linux/if_tun.h

_ALIAS = 256  # IFALIASZ, from linux/if.h

_libc = ctypes.CDLL(None, use_errno=True)


def make(slot: Slot) -> int:
    """Make a slot; the answer is its tap, which is there for as long as it is open. On an error nothing is left.

    It has no rules yet. `OSError`, `NetlinkError`.
    """
    try:
        return _make(slot)
    except BaseException:
        remove(slot)
        raise


def _make(slot: Slot) -> int:
    with _home(), contextlib.ExitStack() as opened:
        _call(_libc.unshare, _NEW_NET)
        _keep(slot.path)
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, own)
        for name, value in (("ipv6/conf/all/disable_ipv6", 1), ("ipv6/conf/default/disable_ipv6", 1)):
            _set(name, value)
        _set("ipv4/ip_forward", 1)
        _set("ipv4/icmp_ratelimit", 0)  # each refusal is told, so that clients do not wait
        tap = _open_tap(slot.tap)
        opened.callback(os.close, tap)
        with IPRoute() as here:
            here.link("set", index=1, state="up")
            index = here.link_lookup(ifname=slot.tap)[0]
            prefix = int(guest_network.ADDRESS.rpartition("/")[2])
            here.addr("add", index=index, address=guest_network.GATEWAY, prefixlen=prefix)
            here.addr("add", index=index, address=guest_network.RESOLVER, prefixlen=32)
            here.link("set", index=index, address=GATEWAY_MAC, state="up")
            with _home(), IPRoute() as host:
                _link(host, slot, own)
            index = here.link_lookup(ifname=slot.link)[0]
            here.addr("add", index=index, address=str(slot.outside), prefixlen=31)
            here.link("set", index=index, state="up")
            here.route("add", dst="default", gateway=str(slot.host_side))
        return os.dup(tap)


def _link(host: IPRoute, slot: Slot, namespace: int) -> None:
    host.link("add", ifname=slot.veth, kind="veth", peer={"ifname": slot.link, "net_ns_fd": namespace})
    _set(f"ipv6/conf/{slot.veth}/disable_ipv6", 1)
    index = host.link_lookup(ifname=slot.veth)[0]
    host.addr("add", index=index, address=str(slot.host_side), prefixlen=31)
    host.link("set", index=index, state="up")


def remove(slot: Slot, tap: int | None = None) -> None:
    """Close its tap, if somebody has it open still, and remove a slot, or what there is of it: it may be nothing."""
    if tap is not None:
        os.close(tap)
    with _home(), IPRoute() as host:
        _remove_link(host, slot.veth)
    with contextlib.suppress(OSError):
        _call(_libc.umount2, os.fsencode(slot.path), _DETACH)
    slot.path.unlink(missing_ok=True)


def numbers(plan: Plan) -> set[int]:
    """Of all slots of ours that there is something of."""
    with IPRoute() as host:
        names = [str(link.get("ifname")) for link in host.get_links()]
    if NAMESPACES.is_dir():
        names += [path.name for path in NAMESPACES.iterdir()]
    ours = re.compile(f"(?:{re.escape(plan.tag)}-|{re.escape(plan.link_prefix)})([0-9]+)")
    return {int(found[1]) for name in names if (found := ours.fullmatch(name))}


def claim(tag: str, home: Path, wanted: str) -> tuple[Plan, list[str]]:
    """Take a network of the range for this service, or find the one it has: a link with its first address.

    Networks of services whose HUTCH_HOME is gone are removed: nobody else ever does. The answer names their tags too,
    since there are tables of theirs. `Unsupported` if the whole range is in use on this box, `OSError` and
    `NetlinkError` where links cannot be made.
    """
    candidates = blocks(wanted)
    descriptor = lock()
    try:
        with IPRoute() as host:
            gone = [_remove_service(it) for it in _services(host) if it.tag != tag and not it.home.exists()]
            plan = _claim(host, tag, candidates, wanted)
            alias = f"{tag} {home.resolve()}"
            if len(os.fsencode(alias)) < _ALIAS:  # else nobody but we can tell whose it is
                host.link("set", index=host.link_lookup(ifname=plan.resolver_link)[0], ifalias=alias)
            return plan, gone
    finally:
        os.close(descriptor)


def lock() -> int:
    """Wait for `LOCK`; it is held until the descriptor is closed. `TimeoutError`."""
    deadline = time.monotonic() + LOCK_LIMIT
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            if time.monotonic() > deadline:
                raise TimeoutError(f"another service has held {LOCK} for {LOCK_LIMIT:g} s")
            time.sleep(0.02)
    except BaseException:
        os.close(descriptor)
        raise


@dataclass(frozen=True, slots=True)
class _Service:
    tag: str
    home: Path
    network: IPv4Network


def _services(host: IPRoute) -> list[_Service]:
    """Those that have a network on this box, as far as they have said so."""
    found = []
    for link in host.get_links():
        tag, _, home = str(link.get("ifalias") or "").partition(" ")
        if not home.startswith(
            "/"
        ):  # addresses are not asked for in vain: the kernel looks at all of the box each time
            continue
        for address in host.get_addr(index=link["index"], family=2):
            network = IPv4Network((address.get("address"), address["prefixlen"]), strict=False)
            if link.get("ifname") == Plan(tag, network).resolver_link:
                found.append(_Service(tag, Path(home), network))
    return found


def _remove_service(service: _Service) -> str:
    plan = Plan(service.tag, service.network)
    for number in numbers(plan):
        remove(plan.slot(number))
    release(plan)
    return service.tag


def _claim(host: IPRoute, tag: str, candidates: list[IPv4Network], wanted: str) -> Plan:
    name = Plan(tag, candidates[0]).resolver_link
    for index in host.link_lookup(ifname=name):
        for address in host.get_addr(index=index, family=2):
            found = Plan(tag, IPv4Network((address.get("address"), address["prefixlen"]), strict=False))
            if numbers(found) or found.network in candidates:
                return found
        host.link("del", index=index)
    taken = [IPv4Network((it.get("address"), it["prefixlen"]), strict=False) for it in host.get_addr(family=2)]
    routes = ((route.get("dst"), route["dst_len"]) for route in host.get_routes(family=2))
    taken += [IPv4Network(route) for route in routes if route[0] is not None]
    network = next((it for it in candidates if not any(it.overlaps(other) for other in taken)), None)
    if network is None:
        raise errors.Unsupported(f"HUTCH_NETWORK_RANGE={wanted}: all of it is in use on this host: name another one")
    plan = Plan(tag, network)
    host.link("add", ifname=name, kind="bridge")  # as good as a dummy link, and in every kernel
    _set(f"ipv6/conf/{name}/disable_ipv6", 1)
    index = host.link_lookup(ifname=name)[0]
    # With the whole network's length: what no slot has is then not sent out into the world.
    host.addr("add", index=index, address=str(plan.resolver), prefixlen=network.prefixlen)
    host.link("set", index=index, state="up")
    return plan


def release(plan: Plan) -> bool:
    """Give the network back. Whether no other service on this box has one, for as long as `LOCK` is held."""
    with IPRoute() as host:
        _remove_link(host, plan.resolver_link)
        return not any(str(link.get("ifname")).startswith(PREFIX) for link in host.get_links())


def traffic(slot: Slot) -> tuple[int, int]:
    """Bytes that the machine has received, and sent."""
    counters = Path(f"/sys/class/net/{slot.veth}/statistics")
    return tuple(int((counters / name).read_text()) for name in ("tx_bytes", "rx_bytes"))  # type: ignore[return-value]


def _remove_link(host: IPRoute, name: str) -> None:
    for index in host.link_lookup(ifname=name):
        try:
            host.link("del", index=index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise


@contextlib.contextmanager
def _home() -> Iterator[None]:
    """Whatever namespace this thread goes into within, it is back where the process is afterwards."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_libc.setns, own, _NEW_NET)
        yield
    finally:
        _call(_libc.setns, before, _NEW_NET)
        os.close(before)
        os.close(own)


def _keep(path: Path) -> None:
    """Give the namespace this thread is in a name, as iproute2 does: a file that it is mounted on."""
    NAMESPACES.mkdir(mode=0o755, exist_ok=True)
    directory = os.fsencode(NAMESPACES)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    # Shared, so that it is unmounted in other mount namespaces too; that needs a mount of its own first.
    if _libc.mount(b"", directory, b"none", _SHARED | _RECURSIVE, None) != 0:
        _call(_libc.mount, directory, directory, b"none", _BIND | _RECURSIVE, None)
        _call(_libc.mount, b"", directory, b"none", _SHARED | _RECURSIVE, None)
    _call(_libc.mount, b"/proc/thread-self/ns/net", os.fsencode(path), b"none", _BIND, None)


def _open_tap(name: str) -> int:
    """A tap in this thread's namespace, which goes when it is closed.

    Without offloads, so that the guest's device is what it is on QEMU's user network, and states fit both.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _set(name: str, value: int) -> None:
    """A setting of this thread's namespace; IPv6 may not be there at all."""
    path = Path("/proc/sys/net") / name
    if path.exists():
        path.write_text(f"{value}\n")
    elif not name.startswith("ipv6/"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _call(function: "ctypes._FuncPointer", *arguments: object) -> None:
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
