"""What is asked of the kernel about the networks on a box."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hutch.host.network import kernel
from hutch.host.network.slot import Plan

PLAN = Plan("hutch-0123456789ab", IPv4Network("10.213.0.0/20"))


class Box:
    """One service's network, and many machines'. It counts what it is asked."""

    asked = 0

    def get_links(self) -> list[dict[str, Any]]:
        ours = {"index": 1, "ifname": PLAN.resolver_link, "ifalias": f"{PLAN.tag} /var/lib/hutch"}
        links = [PLAN.slot(number).veth for number in range(100)]
        return [ours, *({"index": 2 + number, "ifname": name} for number, name in enumerate(links))]

    def get_addr(self, index: int, family: int) -> list[dict[str, Any]]:
        self.asked += 1
        return [{"address": str(PLAN.resolver), "prefixlen": PLAN.network.prefixlen}] if index == 1 else []


def test_services_are_found_without_asking_for_every_machines_addresses() -> None:
    box: Any = Box()
    [found] = kernel._services(box)
    assert (found.tag, found.home, found.network) == (PLAN.tag, Path("/var/lib/hutch"), PLAN.network)
    assert box.asked == 1
