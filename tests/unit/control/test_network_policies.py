"""A machine's network policy: what it may say, and how host and record come to agree on another one."""

import asyncio
import dataclasses

import pytest

from hutch.control import egress
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy
from hutch.model.states import State
from unit.control.rig import Rig, turn

ALLOW = NetworkPolicy(NetworkMode.ALLOW, cidrs=("192.0.2.0/24",))


@pytest.mark.parametrize(
    "policy",
    [
        NetworkPolicy(),
        NetworkPolicy(NetworkMode.BLOCKED, denied=("0.0.0.0/0",)),
        NetworkPolicy(NetworkMode.ALLOW, cidrs=("192.0.2.7", "192.0.2.9/24"), hosts=("*.a.example",)),
        NetworkPolicy(denied=("0.0.0.0/0", "::/0")),
        NetworkPolicy(kbit_per_second=1, packets_per_second=1, burst=1),
        NetworkPolicy(kbit_per_second=egress.MAX_RATE, denied=("192.0.2.0/24",) * egress.LIST_LENGTH),
    ],
)
def test_a_policy_that_can_be_enforced_is_taken(policy: NetworkPolicy) -> None:
    egress.check(policy)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (NetworkPolicy(NetworkMode.ALLOW), "requires at least one CIDR or host"),
        (NetworkPolicy(cidrs=("192.0.2.0/24",)), "for the allow mode, and this is open"),
        (NetworkPolicy(NetworkMode.BLOCKED, hosts=("a.example",)), "for the allow mode, and this is blocked"),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("a.example",) * 257), "at most 256 CIDRs and hosts"),
        (NetworkPolicy(denied=("192.0.2.0/24",) * 257), "at most 256 CIDRs are denied"),
        (NetworkPolicy(NetworkMode.ALLOW, cidrs=("192.0.2.0/33",)), "is not a CIDR"),
        (
            NetworkPolicy(NetworkMode.ALLOW, cidrs=("192.0.2.7", "2001:db8::/32")),
            "2001:db8::/32 is IPv6, which machines",
        ),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("a" * 64 + ".example",)), "is not a host name"),
        (NetworkPolicy(denied=("example.org",)), "'example.org' is not a CIDR"),
        (NetworkPolicy(denied=("\udc80" * 1000,)), "is not a CIDR"),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("a..example",)), "is not a host name"),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("*",)), "is not a host name"),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("192.0.2.7",)), "is not a host name"),
        (NetworkPolicy(NetworkMode.ALLOW, hosts=("a" * 254,)), "is not a host name"),
        (NetworkPolicy(kbit_per_second=0), "kbit per second is 0"),
        (NetworkPolicy(packets_per_second=-5), "packets per second is -5"),
        (NetworkPolicy(packets_per_second=1, burst=10_000_000), "burst is 10000000"),
        (NetworkPolicy(burst=1), "a burst is of packets per second, which are not limited"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: NetworkPolicy, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        egress.check(policy)


async def test_host_and_record_have_the_policy_that_was_set(rig: Rig) -> None:
    machine = await rig.launch()
    it = await rig.plane.machines.set_network(rig.me, machine, ALLOW)
    assert it.spec.network == rig.world.machines[machine].spec.network == ALLOW
    await rig.crash_and_restart()
    assert rig.get(machine).spec.network == ALLOW


async def test_it_is_done_behind_what_is_under_way_and_disturbs_nothing(rig: Rig) -> None:
    machine = await rig.launch()
    gate = rig.world.faults.gates["suspend"] = asyncio.Event()
    suspending = asyncio.ensure_future(rig.plane.machines.suspend(rig.me, machine))
    await rig.come(machine, State.SUSPENDING)
    setting = asyncio.ensure_future(rig.plane.machines.set_network(rig.me, machine, ALLOW))
    await turn()
    assert not setting.done()
    gate.set()
    await asyncio.gather(suspending, setting)
    assert (rig.state(machine), rig.get(machine).spec.network) == (State.SUSPENDED, ALLOW)
    assert (await rig.run(machine, "echo awake")).stdout == b"awake\n"
    assert rig.get(machine).spec.network == ALLOW


async def test_a_host_that_refuses_leaves_all_as_it_was(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.fails["set_policy"] = [errors.Unsupported("not on this host")]
    with pytest.raises(errors.Unsupported, match="not on this host"):
        await rig.plane.machines.set_network(rig.me, machine, ALLOW)
    assert rig.get(machine).spec.network == rig.world.machines[machine].spec.network == NetworkPolicy()
    assert "its network is as it was: not on this host" in await rig.messages(machine)
    assert rig.state(machine) is State.RUNNING


async def test_a_record_that_cannot_be_written_puts_the_host_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()

    async def fail(*_: object) -> None:
        raise errors.HutchError("the database is gone")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "save_machine", fail)
        with pytest.raises(errors.HutchError, match="the database is gone"):
            await rig.plane.machines.set_network(rig.me, machine, ALLOW)
    assert rig.get(machine).spec.network == rig.world.machines[machine].spec.network == NetworkPolicy()


async def test_a_policy_is_set_by_whoever_may_use_the_machine(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.Forbidden):
        await rig.plane.machines.set_network(await rig.someone("machine:read"), machine, ALLOW)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.set_network(await rig.someone(tenant="other"), machine, ALLOW)
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.machines.set_network(rig.me, machine, dataclasses.replace(ALLOW, cidrs=()))
    await rig.plane.machines.set_network(await rig.someone("machine:exec"), machine, ALLOW)


async def test_a_service_that_dies_between_host_and_record_goes_on_with_what_the_host_does(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.core.host.networks.set_policy(machine, ALLOW)
    await rig.crash_and_restart()
    assert rig.get(machine).spec.network == ALLOW
    assert "its network policy is allow now" in await rig.messages(machine)
