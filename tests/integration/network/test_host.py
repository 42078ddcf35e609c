"""The rules of the host's own namespace, in one that stands for it; a machine's slot and a container are beside it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from hutch.host.network import rules, slot
from namespaces import LIMIT, within

PLAN = slot.Plan("hutch-fa1se00", IPv4Network("10.213.0.0/20"))
SLOT = PLAN.slot(0)
HOST, CONTAINER = "192.0.2.1", "172.17.0.2"

PUBLISH = f"""
table ip published {{
  chain destination {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local tcp dport 8080 dnat ip to {CONTAINER}:80
  }}
}}
"""


@pytest.fixture
def box() -> Iterator[str]:
    """What all namespaces' names begin with: `{box}-host`, `-slot`, `-container`."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"hutch-test-{os.getpid()}-box"
    host, machine, container = (f"{name}-{what}" for what in ("host", "slot", "container"))
    script = f"""
        ip netns add {host}; ip netns add {machine}; ip netns add {container}
        for it in {host} {machine} {container}; do ip -n $it link set lo up; done
        ip netns exec {host} sysctl -qw net.ipv4.ip_forward=1
        ip -n {host} addr add {HOST}/32 dev lo
        ip -n {host} link add {SLOT.veth} type veth peer name eth0 netns {machine}
        ip -n {host} link add docker0 type veth peer name eth0 netns {container}
        ip -n {host} addr add {SLOT.host_side}/31 dev {SLOT.veth}; ip -n {host} link set {SLOT.veth} up
        ip -n {host} addr add 172.17.0.1/16 dev docker0; ip -n {host} link set docker0 up
        ip -n {machine} addr add {SLOT.outside}/31 dev eth0; ip -n {machine} link set eth0 up
        ip -n {machine} route add default via {SLOT.host_side}
        ip -n {container} addr add {CONTAINER}/16 dev eth0; ip -n {container} link set eth0 up
        ip -n {container} route add default via 172.17.0.1
    """
    try:
        subprocess.run(["sh", "-ec", script], check=True)
        loaded = rules.of_host(PLAN, os.geteuid()) + PUBLISH
        subprocess.run(["ip", "netns", "exec", host, "nft", "-f", "-"], input=loaded.encode(), check=True)
        yield name
    finally:
        for namespace in (host, machine, container):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


def test_a_machine_does_not_reach_what_the_host_publishes_of_its_containers(box: str) -> None:
    def connect(port: int, address: str) -> None:
        socket.create_connection((address, port), timeout=LIMIT).close()

    with within(f"{box}-container", lambda: socket.create_server((CONTAINER, 80))):
        within(f"{box}-slot", lambda: connect(80, CONTAINER))  # what its own slot refuses
        with pytest.raises(ConnectionRefusedError):
            within(f"{box}-slot", lambda: connect(8080, HOST))
