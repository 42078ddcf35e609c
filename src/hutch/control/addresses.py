"""Where ports are shown: `/proxy/MACHINE/PORT/…`, `MACHINE-PORT.DOMAIN` or `PORT-MACHINE.DOMAIN`, `ID.DOMAIN`. Pure.

MACHINE is an id, also with the prefix of a dialect, or a name; what it means only the records tell.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from hutch import settings
from hutch.model import ids
from hutch.model.ids import MachineId

ROOT = "/proxy/"
PREFIXES = ("mach-", "mch_", "mch-", "inst_", "inst-")
"""Of dialects; with a hyphen where a host name allows no underscore."""

_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Address(NamedTuple):
    """A machine by id or name, and a port."""

    machine: str
    port: int


def parse_path(path: str) -> tuple[Address, str] | None:
    """What a (raw, still encoded) path names, and the path that is left for the guest; None if it is no such path."""
    if not path.startswith(ROOT):
        return None
    machine, _, rest = path[len(ROOT) :].partition("/")
    port, slash, rest = rest.partition("/")
    number = parse_port(port)
    return None if number is None or not machine else (Address(unquote(machine), number), "/" + rest if slash else "/")


def parse_host(host: str, domain: str) -> Sequence[Address]:
    """What a host name may mean, at most two things; a port behind it is passed over."""
    label = find_label(host, domain)
    found = []
    if label is not None:
        machine, _, port = label.rpartition("-")
        first, _, rest = label.partition("-")
        for name, number in ((machine, parse_port(port)), (rest, parse_port(first))):
            if name and number is not None:
                found.append(Address(name, number))
    return found


def find_label(host: str, domain: str) -> str | None:
    """The one label of a host that stands before `domain`, lower case."""
    label, dot, rest = bare_host(host).partition(".")
    return label if dot and rest == domain.lower() else None


def bare_host(host: str) -> str:
    """A `Host` header as a name: lower case, without a port or the dot at its end."""
    return host.partition(":")[0].lower().removesuffix(".")


def parse_port(text: str) -> int | None:
    """1 to 65535."""
    return int(text) if _PORT.fullmatch(text) and int(text) < 65536 else None


def find_id(machine: str) -> MachineId | None:
    """The id in it, with or without a dialect's prefix."""
    for prefix in ("", *PREFIXES):
        if machine.startswith(prefix) and ids.is_machine_id(machine.removeprefix(prefix)):
            return MachineId(machine.removeprefix(prefix))
    return None


def make_url(proxy: settings.Proxy, machine: MachineId, port: int) -> str:
    """scheme://MACHINE-PORT.DOMAIN[:PORT], with the scheme and port that clients see."""
    scheme, end = _seen(proxy)
    return f"{scheme}://{machine}-{port}.{proxy.domain}{end}"


def make_host(proxy: settings.Proxy, machine: MachineId) -> str:
    """MACHINE.DOMAIN[:PORT], with the port that clients see."""
    return f"{machine}.{proxy.domain}{_seen(proxy)[1]}"


def _seen(proxy: settings.Proxy) -> tuple[str, str]:
    """The scheme that clients see, and the end of a host if it needs a port."""
    seen = urlsplit(proxy.url) if proxy.url else SplitResult("http", proxy.listen, "", "", "")
    is_usual = seen.port in (None, {"http": 80, "https": 443}.get(seen.scheme))
    return seen.scheme, "" if is_usual else f":{seen.port}"
