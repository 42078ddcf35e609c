"""What a machine may reach, as this dialect says it. Pure.

A machine made here without a word of it may reach everything outside, or what the machine might of whose snapshot it
is made. Denied networks are refused even where something else allows them.
"""

import ipaddress
from typing import Any

from hutch.api.nullspace import requests
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

_ALL = frozenset({"0.0.0.0/0", "::/0"})


def read(given: requests.Egress) -> NetworkPolicy:
    """An egress policy."""
    rate = given.rate_limit or requests.RateLimit()
    allowed, denied = tuple(given.allow_cidrs or ()), tuple(given.deny_cidrs or ())
    if given.mode != "custom" and (allowed or denied):
        raise errors.InvalidRequest(f"egress: allow_cidrs and deny_cidrs are for the mode custom, not {given.mode}")
    if given.mode == "custom" and not (allowed or denied):
        raise errors.InvalidRequest("egress: custom takes allow_cidrs, deny_cidrs, or both")
    mode = NetworkMode.BLOCKED if given.mode == "deny_all" else NetworkMode.ALLOW if allowed else NetworkMode.OPEN
    return NetworkPolicy(
        mode,
        cidrs=allowed,
        denied=denied,
        kbit_per_second=rate.kbit_per_sec,
        packets_per_second=rate.pps,
        burst=rate.burst,
    )


def show(it: NetworkPolicy) -> dict[str, Any]:
    """One that this dialect can say."""
    rate = {"kbit_per_sec": it.kbit_per_second, "pps": it.packets_per_second, "burst": it.burst}
    limit = {name: value for name, value in rate.items() if value is not None}
    modes = {NetworkMode.OPEN: "custom" if it.denied else "allow_all", NetworkMode.BLOCKED: "deny_all"}
    shown = {
        "mode": modes.get(it.mode, "custom"),
        "allow_cidrs": list(it.cidrs),
        "deny_cidrs": list(it.denied),
        "rate_limit": limit,
    }
    return {name: value for name, value in shown.items() if value}


def of_new(body: requests.CreateMachine) -> NetworkPolicy | None:
    """What a new machine may reach, if it says so. `internet_access: false` cannot be weakened; true is the default."""
    given = body.network or requests.Network()
    if given.mask_request_host:
        raise errors.Unsupported("network.mask_request_host: the proxy passes the Host header on as it comes")
    if given.egress is not None and (given.allow_out or given.deny_out):
        raise errors.InvalidRequest("network: egress says it all, leave allow_out and deny_out out")
    policy = None if given.egress is None else read(given.egress)
    if given.allow_out or given.deny_out:
        policy = _legacy(given.allow_out or [], given.deny_out or [])
    return NetworkPolicy(NetworkMode.BLOCKED) if body.internet_access is False else policy


def _legacy(allowed: list[str], denied: list[str]) -> NetworkPolicy:
    """`allow_out` alone, or beside a `deny_out` of everything, is all that may be reached."""
    hosts = tuple(it for it in allowed if not _is_network(it))
    for it in denied:
        if not _is_network(it):
            raise errors.Unsupported(f"network.deny_out: {it[:80]!a}: networks can be denied, host names cannot")
    is_all = not _ALL.isdisjoint(denied)
    if allowed and denied and not is_all:
        raise errors.Unsupported(
            "network.deny_out: with allow_out it is 0.0.0.0/0, or is left out: nothing denied is allowed"
        )
    if allowed:
        return NetworkPolicy(NetworkMode.ALLOW, cidrs=tuple(it for it in allowed if it not in hosts), hosts=hosts)
    return NetworkPolicy(NetworkMode.BLOCKED) if is_all else NetworkPolicy(denied=tuple(denied))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
