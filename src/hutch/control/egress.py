"""What a machine's network policy may say. Pure; its host enforces it."""

import ipaddress
import re
from collections.abc import Sequence

from hutch.model.errors import InvalidRequest
from hutch.model.machine import NetworkMode, NetworkPolicy

LIST_LENGTH = 256  # entries of the allow list, and of the deny list
MAX_RATE = 100_000_000  # kbit/s or packets/s
MAX_BURST = 1_000_000  # packets

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")


def check(policy: NetworkPolicy) -> None:
    """`InvalidRequest`, naming what is wrong, for a policy that could not be enforced as it stands."""
    allowed = len(policy.cidrs) + len(policy.hosts)
    if policy.mode is NetworkMode.ALLOW and not allowed:
        raise InvalidRequest("the allow network mode requires at least one CIDR or host")
    if policy.mode is not NetworkMode.ALLOW and allowed:
        raise InvalidRequest(f"network: CIDRs and hosts are for the allow mode, and this is {policy.mode}")
    if allowed > LIST_LENGTH:
        raise InvalidRequest(f"the allow network mode takes at most {LIST_LENGTH} CIDRs and hosts")
    if len(policy.denied) > LIST_LENGTH:
        raise InvalidRequest(f"network: at most {LIST_LENGTH} CIDRs are denied")
    _check_cidrs(policy.denied)
    _check_cidrs(policy.cidrs)
    for cidr in policy.cidrs:
        if ":" in cidr:
            raise InvalidRequest(
                f"network: {cidr} is IPv6, which machines do not have: allow IPv4 CIDRs and hosts only"
            )
    for host in policy.hosts:
        if not _HOST.fullmatch(host) or len(host) > 253 or _is_address(host):
            raise InvalidRequest(f"network: {host[:80]!a} is not a host name such as example.org or *.example.org")
    _check_rates(policy)


def _check_cidrs(cidrs: Sequence[str]) -> None:
    for cidr in cidrs:
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            raise InvalidRequest(f"network: {cidr[:80]!a} is not a CIDR such as 10.0.0.0/8") from None


def _is_address(text: str) -> bool:
    """An address is a CIDR of its own: no name leads to it, so as a host it would never be let through."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_rates(policy: NetworkPolicy) -> None:
    for what, rate, most in (
        ("kbit per second", policy.kbit_per_second, MAX_RATE),
        ("packets per second", policy.packets_per_second, MAX_RATE),
        ("burst", policy.burst, MAX_BURST),
    ):
        if rate is not None and not 1 <= rate <= most:
            raise InvalidRequest(f"network: {what} is {rate}: 1 to {most}, or leave it out")
    if policy.burst is not None and policy.packets_per_second is None:
        raise InvalidRequest("network: a burst is of packets per second, which are not limited")
