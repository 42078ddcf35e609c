"""Names, addresses and rules of slots; what doctor says of networks; what the user network can do."""

import asyncio
import dataclasses
import os
from ipaddress import IPv4Address, IPv4Network

import pytest

from hutch import settings
from hutch.host import doctor
from hutch.host.network import rules, user
from hutch.host.network.slot import PREFIX, Plan, blocks
from hutch.host.network.user import UserConnection
from hutch.host.qemu.monitor import Monitor
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

PLAN = Plan("hutch-0123456789", IPv4Network("10.213.16.0/20"))


def test_a_range_is_shared_by_sixteen_services_and_a_small_one_by_none() -> None:
    assert [str(it) for it in blocks("10.213.0.0/16")][:2] == ["10.213.0.0/20", "10.213.16.0/20"]
    assert len(blocks("10.213.0.0/16")) == 16
    assert blocks("10.9.0.0/24") == [IPv4Network("10.9.0.0/24")]


def test_every_slot_has_addresses_and_names_of_its_own() -> None:
    slots = [PLAN.slot(number) for number in range(PLAN.size)]
    addresses = {PLAN.resolver} | {address for slot in slots for address in (slot.outside, slot.host_side)}
    assert len(addresses) == 2 * PLAN.size + 1
    assert all(address in PLAN.network for address in addresses)
    assert {PLAN.network.network_address, PLAN.network.broadcast_address} & addresses == set()
    for slot in slots:
        assert IPv4Network((int(slot.host_side), 31)) == IPv4Network(f"{slot.outside}/31", strict=False)
    assert len({slot.namespace for slot in slots}) == len({slot.veth for slot in slots}) == PLAN.size


def test_links_have_names_that_the_kernel_takes_and_the_rules_of_all_services_know() -> None:
    largest = Plan(PLAN.tag, IPv4Network("10.0.0.0/20"))
    for name in (largest.slot(largest.size - 1).veth, largest.resolver_link):
        assert len(name) <= 15
        assert name.startswith(PREFIX)


def test_a_slots_rules_name_its_addresses() -> None:
    slot = PLAN.slot(3)
    assert (slot.host_side, slot.outside) == (IPv4Address("10.213.16.8"), IPv4Address("10.213.16.9"))
    text = rules.of_slot(slot, PLAN)
    assert 'iifname "eth0" ip saddr 10.213.16.8 ip daddr 10.213.16.9 meta l4proto tcp dnat ip to 10.0.2.15' in text
    assert "th dport 53 dnat ip to 10.213.16.1" in text


class Words(Monitor):
    """Answers commands for people as QEMU does."""

    def __init__(self) -> None:
        self.forwards: list[str] = []
        self.said: list[str] = []
        self.refuses = False

    async def human(self, line: str) -> str:
        self.said.append(line)
        await asyncio.sleep(0)
        if line.startswith("hostfwd_add"):
            if self.refuses:
                return "could not set up host forwarding rule\r\n"
            port = line.rpartition(":")[2]
            self.forwards.append(
                f"  TCP[HOST_FORWARD]  12       127.0.0.1 4{port}       10.0.2.15  {port}     0     0\r\n"
            )
            return ""
        head = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        return (
            head
            + "  TCP[ESTABLISHED]   13       127.0.0.1 49999       10.0.2.15    80     0     0\r\n"
            + "".join(self.forwards)
        )


async def test_a_port_of_a_guest_on_the_user_network_is_forwarded_once() -> None:
    connection, monitor = UserConnection(False), Words()
    for port in (80, 8080, 80):
        endpoint = await connection.endpoint(monitor, port)
        assert (endpoint.host, endpoint.port) == ("127.0.0.1", int(f"4{port}"))
    assert [line for line in monitor.said if line.startswith("hostfwd_add")] == [
        "hostfwd_add net0 tcp:127.0.0.1:0-10.0.2.15:80",
        "hostfwd_add net0 tcp:127.0.0.1:0-10.0.2.15:8080",
    ]
    adopted = UserConnection(False)
    assert (await adopted.endpoint(monitor, 80)).port == 480
    assert len(monitor.forwards) == 2


async def test_a_port_that_is_asked_for_twice_at_once_is_forwarded_once() -> None:
    connection, monitor = UserConnection(False), Words()
    first, second = await asyncio.gather(*(connection.endpoint(monitor, 80) for _ in range(2)))
    assert first == second
    assert len(monitor.forwards) == 1


async def test_a_forward_that_cannot_be_made_is_an_error_with_qemus_words() -> None:
    monitor = Words()
    monitor.refuses = True
    with pytest.raises(errors.MachineFailed, match="could not set up"):
        await UserConnection(False).endpoint(monitor, 80)


@pytest.mark.parametrize("mode", [NetworkMode.OPEN, NetworkMode.BLOCKED])
def test_the_user_network_takes_all_or_nothing(mode: NetworkMode) -> None:
    policy = NetworkPolicy(mode)
    user.check(policy)
    for changes in ({"mode": NetworkMode.ALLOW}, {"denied": ("1.0.0.0/8",)}, {"burst": 3}, {"kbit_per_second": 1}):
        with pytest.raises(errors.Unsupported, match="needs network slots"):
            user.check(dataclasses.replace(policy, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "ok"), [("auto", None), ("slots", False), ("user", None)])
def test_doctor_says_what_slots_lack(mode: str, ok: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    wanted = settings.Settings(network=settings.Network(mode=mode))
    (found,) = (check for check in doctor.diagnose(wanted) if check.name == "network")
    assert found.ok is ok
    assert found.remedy
    assert ("root" in found.detail) == (mode != "user")
