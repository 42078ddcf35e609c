"""Which addresses a tenant may have messages sent to: none by which this host, or what trusts it, would be reached."""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_CLOUD_METADATA = ipaddress.IPv6Address("fd00:ec2::254")  # Amazon's; elsewhere it is link-local


def why_refused(address: str) -> str | None:
    """What is wrong with an IP address; None: it may be reached. IPv4 inside IPv6 is looked at as IPv4."""
    ip = _unwrap(ipaddress.ip_address(address.split("%")[0]))
    for is_so, what in (
        (ip.is_loopback, "a loopback address"),
        (ip.is_link_local, "a link-local address"),
        (ip.is_unspecified or ip in _THIS_NETWORK, "an unspecified address"),
        (ip.is_multicast, "a multicast address"),
        (ip == _CLOUD_METADATA, "a cloud's metadata service"),
        (ip.is_reserved, "a reserved address"),
    ):
        if is_so:
            return what
    return "an address of this host" if is_own(ip) else None


def why_unread(address: str) -> str | None:
    """The same where the answer is told to the tenant: only what all the world can reach."""
    ip = _unwrap(ipaddress.ip_address(address.split("%")[0]))
    return why_refused(address) or (None if ip.is_global else "a private address")


def is_own(ip: Address) -> bool:
    """Whether it is this host's. The kernel would then speak to it from the same address; no packet is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
            return ipaddress.ip_address(probe.getsockname()[0].split("%")[0]) == ip
    except OSError:
        return False  # there is no way there at all


def _unwrap(ip: Address) -> Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
