"""Checkouts: who gets a member, who waits, who goes without; pools that change; what members count for."""

import asyncio
from typing import Any

import pytest

from hutch.control.machines import MachineRequest, MountRequest
from hutch.control.pools import PoolChange, PoolRequest
from hutch.model import errors
from hutch.model.ids import PoolId
from hutch.model.keys import Limits
from hutch.model.machine import Checkout, CheckoutMode, CheckoutSource, Machine, NetworkMode, NetworkPolicy, PoolState
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn
from unit.control.test_pools import come, make, members

PREFER, REQUIRE, BYPASS = CheckoutMode.PREFER, CheckoutMode.REQUIRE, CheckoutMode.BYPASS
WAIT = 30.0


async def checkout(rig: Rig, pool: PoolId | None, *rest: Any, **fields: Any) -> Machine:
    return await rig.plane.pools.checkout(rig.me, pool, MachineRequest("", **fields), *rest)


async def change(rig: Rig, pool: PoolId, **fields: Any) -> None:
    await rig.plane.pools.change(rig.me, pool, PoolChange(**fields))
    await rig.settle()


async def none_ready(rig: Rig, **fields: Any) -> PoolId:
    """A pool whose members are not made before `go_on`."""
    rig.world.faults.gate = asyncio.Event()
    pool = await make(rig, **fields)
    await turn(20)
    return pool


def go_on(rig: Rig) -> None:
    assert rig.world.faults.gate is not None
    rig.world.faults.gate.set()


async def waiters(rig: Rig, pool: PoolId, count: int) -> None:
    warm = rig.plane.core.fleet.members.get(pool)
    async with asyncio.timeout(LIMIT):
        while warm is None or len(warm.waiting) != count:
            await asyncio.sleep(0)


async def test_one_that_is_ready_is_taken_and_recorded(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    machine = await checkout(rig, pool, REQUIRE, 0, name="mine")
    assert (machine.name, machine.state) == ("mine", State.RUNNING)
    assert machine.checkout == Checkout(CheckoutSource.MEMBER, REQUIRE, pool)
    await rig.crash_and_restart()
    assert rig.plane.machines.get(rig.me, machine.id).checkout == machine.checkout


async def test_of_one_member_exactly_one_checkout_gets_it(rig: Rig) -> None:
    pool = await make(rig, min=1, max=1)
    await come(rig, pool, 1)
    results = await asyncio.gather(*(checkout(rig, pool, REQUIRE) for _ in range(8)), return_exceptions=True)
    made = [it for it in results if isinstance(it, Machine)]
    assert [it.checkout for it in made] == [Checkout(CheckoutSource.MEMBER, REQUIRE, pool)]
    assert [type(it) for it in results].count(errors.PoolUnavailable) == 7


async def test_required_and_not_there_nothing_is_made(rig: Rig) -> None:
    pool = await make(rig, min=0, max=0)
    with pytest.raises(errors.PoolUnavailable, match="no machine of pool warm is ready"):
        await checkout(rig, pool, REQUIRE, 0)
    assert rig.plane.machines.list(rig.me) == []
    assert rig.world.machines == {}


async def test_preferred_and_not_there_it_is_made_as_any_other(rig: Rig) -> None:
    pool = await make(rig, min=0)
    machine = await checkout(rig, pool, PREFER)
    assert machine.checkout == Checkout(CheckoutSource.COLD, PREFER, pool)
    assert machine.state is State.RUNNING


async def test_bypassed_a_member_that_fits_stays(rig: Rig) -> None:
    pool = await make(rig, MachineRequest("alpine", cpus=2))
    await come(rig, pool, 1)
    machine = await checkout(rig, pool, BYPASS)
    assert machine.checkout == Checkout(CheckoutSource.BYPASSED, BYPASS, pool)
    assert machine.spec.resources.cpus == 2
    plain = await rig.plane.pools.checkout(rig.me, None, MachineRequest("alpine", cpus=2), BYPASS)
    assert plain.checkout == Checkout(CheckoutSource.BYPASSED, BYPASS)
    status = rig.plane.pools.find(rig.me, pool)
    assert (status.ready, status.claimed) == (1, 0)


async def test_the_network_is_the_pools_even_bypassed_and_no_other_comes_out_of_it(rig: Rig) -> None:
    blocked = NetworkPolicy(NetworkMode.BLOCKED)
    pool = await make(rig, MachineRequest("alpine", network=blocked), min=0, max=1)
    for mode in (PREFER, BYPASS):
        assert (await checkout(rig, pool, mode)).spec.network == blocked
    with pytest.raises(errors.InvalidRequest, match="network: machines of pool warm have their own"):
        await checkout(rig, pool, PREFER, 0, network=NetworkPolicy())


async def test_a_machine_that_was_bypassed_or_made_cold_takes_none_later(rig: Rig) -> None:
    """What its record says of its first start stays true."""
    pool = await make(rig, min=0, max=1)
    made = await checkout(rig, pool, PREFER)
    await come(rig, pool, 1)
    await rig.plane.machines.stop(rig.me, made.id)
    await rig.plane.machines.start(rig.me, made.id)
    assert rig.plane.pools.find(rig.me, pool).ready == 1


async def test_a_start_that_found_one_by_itself_tells_so(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    machine = rig.plane.machines.get(rig.me, await rig.launch())
    assert machine.checkout == Checkout(CheckoutSource.MEMBER, PREFER, pool)
    other = rig.plane.machines.get(rig.me, await rig.launch(image="debian"))
    assert other.checkout is None


async def test_the_mode_is_the_pools_unless_it_is_said(rig: Rig) -> None:
    pool = await make(rig, min=0, max=0, mode=REQUIRE)
    with pytest.raises(errors.PoolUnavailable):
        await checkout(rig, pool)
    assert (await checkout(rig, pool, PREFER)).checkout == Checkout(CheckoutSource.COLD, PREFER, pool)
    await change(rig, pool, mode=BYPASS)
    assert (await checkout(rig, pool)).checkout == Checkout(CheckoutSource.BYPASSED, BYPASS, pool)


async def test_who_waits_gets_the_next_ones_first_come_first_served(rig: Rig) -> None:
    pool = await none_ready(rig, min=0, max=1)
    waiting = []
    for number in range(3):
        waiting.append(soon(checkout(rig, pool, REQUIRE, WAIT, name=f"w{number}")))
        await waiters(rig, pool, number + 1)
    ends: list[str] = []
    for task in waiting:
        task.add_done_callback(lambda done: ends.append(done.result().name))
    go_on(rig)
    async with asyncio.timeout(LIMIT):
        while len(ends) < 3:
            rig.plane.core.fleet.members.tick()
            await asyncio.sleep(0)
    assert ends == ["w0", "w1", "w2"]
    assert {it.checkout.source for it in rig.plane.machines.list(rig.me) if it.checkout} == {CheckoutSource.MEMBER}


async def test_who_waited_in_vain_is_told_and_leaves_no_trace(rig: Rig) -> None:
    pool = await none_ready(rig)
    with pytest.raises(errors.PoolUnavailable):
        await checkout(rig, pool, REQUIRE, 0.01)
    warm = rig.plane.core.fleet.members.get(pool)
    assert warm is not None
    assert not warm.waiting
    go_on(rig)
    await come(rig, pool, 1)


async def test_who_goes_away_while_waiting_costs_nobody_a_member(rig: Rig) -> None:
    pool = await none_ready(rig)
    gone, stays = soon(checkout(rig, pool, REQUIRE, WAIT)), soon(checkout(rig, pool, REQUIRE, WAIT))
    await waiters(rig, pool, 2)
    gone.cancel()
    await waiters(rig, pool, 1)
    go_on(rig)
    assert (await stays).state is State.RUNNING
    assert len(rig.plane.machines.list(rig.me)) == 1


@pytest.mark.parametrize("state", [PoolState.DISABLED, PoolState.DRAINING])
async def test_who_waits_for_a_pool_that_is_closed_is_told_at_once(rig: Rig, state: PoolState) -> None:
    pool = await none_ready(rig)
    waiting = soon(checkout(rig, pool, REQUIRE, WAIT))
    await waiters(rig, pool, 1)
    await rig.plane.pools.change(rig.me, pool, PoolChange(state=state))
    with pytest.raises(errors.PoolUnavailable):
        await waiting
    with pytest.raises(errors.PoolUnavailable, match=f"it is {state}"):
        await checkout(rig, pool, REQUIRE, WAIT)
    assert rig.world.machines == {}


async def test_who_waits_for_a_pool_that_is_deleted_is_told_at_once(rig: Rig) -> None:
    pool = await none_ready(rig)
    waiting = soon(checkout(rig, pool, REQUIRE, WAIT))
    await waiters(rig, pool, 1)
    await rig.plane.pools.delete(rig.me, pool)
    with pytest.raises(errors.PoolUnavailable):
        await waiting


async def test_who_waits_when_the_service_ends_is_told(rig: Rig) -> None:
    pool = await none_ready(rig)
    waiting = soon(checkout(rig, pool, REQUIRE, WAIT))
    await waiters(rig, pool, 1)
    await asyncio.wait_for(rig.plane.close(), LIMIT)
    with pytest.raises(errors.PoolUnavailable):
        await waiting
    assert rig.world.machines == {}


async def test_a_member_for_a_machine_that_cannot_be_made_goes_back(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    before = members(rig)
    await rig.create(name="taken", image="debian")
    with pytest.raises(errors.Conflict, match="taken"):
        await checkout(rig, pool, REQUIRE, name="taken")
    status = rig.plane.pools.find(rig.me, pool)
    assert (status.ready, status.claimed) == (1, 0)
    assert before <= set(rig.world.machines)


async def test_a_required_member_that_cannot_be_taken_leaves_nothing(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    rig.world.faults.fails["claim"] = [errors.Conflict("it differs")]
    with pytest.raises(errors.PoolUnavailable, match="not out of pool warm: it differs"):
        await checkout(rig, pool, REQUIRE)
    await rig.settle()
    assert rig.plane.machines.list(rig.me) == []
    rig.clock.advance(61)
    await come(rig, pool, 1)
    assert rig.plane.core.fleet.admission.promised_mib == 512


async def test_a_preferred_member_that_cannot_be_taken_is_told_as_a_cold_start(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    rig.world.faults.fails["claim"] = [errors.Conflict("it differs")]
    assert (await checkout(rig, pool, PREFER)).checkout == Checkout(CheckoutSource.COLD, PREFER, pool)


async def test_volumes_are_for_machines_that_are_made(rig: Rig) -> None:
    volume = await rig.plane.volumes.create(rig.me, "data", 1)
    pool = await make(rig)
    await come(rig, pool, 1)
    mounts = (MountRequest(volume.id, "/data"),)
    with pytest.raises(errors.InvalidRequest, match="volumes"):
        await checkout(rig, pool, REQUIRE, mounts=mounts)
    machine = await checkout(rig, pool, PREFER, mounts=mounts)
    assert machine.checkout == Checkout(CheckoutSource.COLD, PREFER, pool)
    assert rig.plane.pools.find(rig.me, pool).ready == 1


@pytest.mark.parametrize(
    ("pool", "mode", "wait", "words"),
    [
        (None, PREFER, 0, "name a pool"),
        (None, None, 0, "name a pool"),
        ("warm", PREFER, 31, "0 to 30"),
        ("warm", REQUIRE, -1, "0 to 30"),
        ("warm", REQUIRE, float("nan"), "0 to 30"),
    ],
)
async def test_a_checkout_that_makes_no_sense_is_refused(
    rig: Rig, pool: str | None, mode: CheckoutMode | None, wait: float, words: str
) -> None:
    await make(rig, min=0)
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.plane.pools.checkout(rig.me, pool, None, mode, wait)
    with pytest.raises(errors.NotFound):
        await rig.plane.pools.checkout(rig.me, "none", None, BYPASS)


async def test_a_pool_is_made_smaller_and_larger(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    await change(rig, pool, min=0, max=1, name="hot", labels={"a": "b"}, metadata={"n": 1})
    status = rig.plane.pools.find(rig.me, "hot")
    assert (status.ready, status.pool.labels, status.pool.metadata) == (0, {"a": "b"}, {"n": 1})
    assert len(members(rig)) == 0
    await change(rig, pool, min=3, max=3)
    await come(rig, pool, 3)
    await rig.crash_and_restart()
    assert rig.plane.pools.find(rig.me, "hot").pool.min == 3


async def test_members_that_were_warmed_in_another_way_are_replaced(rig: Rig) -> None:
    pool = await make(rig, warm_up=("sh", "-c", "echo old >workspace/file"))
    await come(rig, pool, 1)
    await rig.plane.pools.change(rig.me, pool, PoolChange(warm_up=("sh", "-c", "echo new >workspace/file")))
    await come(rig, pool, 1)
    machine = await checkout(rig, pool, REQUIRE)
    assert (await rig.run(machine.id, "cat workspace/file")).stdout == b"new\n"


async def test_a_disabled_pool_keeps_what_is_ready_and_gives_none(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    await change(rig, pool, state=PoolState.DISABLED)
    assert (await checkout(rig, pool, PREFER)).checkout == Checkout(CheckoutSource.COLD, PREFER, pool)
    await rig.launch()
    assert rig.plane.pools.find(rig.me, pool).ready == 1
    await change(rig, pool, state=PoolState.ENABLED)
    assert (await checkout(rig, pool, REQUIRE)).state is State.RUNNING


async def test_a_drained_pool_is_empty_until_it_is_enabled(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    await change(rig, pool, state=PoolState.DRAINING)
    await rig.crash_and_restart()
    rig.plane.core.keeper.sweep()
    await turn(50)
    assert (rig.plane.pools.find(rig.me, pool).ready, rig.world.machines) == (0, {})
    await change(rig, pool, state=PoolState.ENABLED)
    await come(rig, pool, 2)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"min": 2}, errors.InvalidRequest),
        ({"max": 65}, errors.InvalidRequest),
        ({"min": -1}, errors.InvalidRequest),
        ({"name": "a b"}, errors.InvalidRequest),
        ({"name": "other"}, errors.Conflict),
        ({"warm_up": ()}, errors.InvalidRequest),
        ({"labels": {"": "x"}}, errors.InvalidRequest),
        ({"metadata": {"a": object()}}, errors.InvalidRequest),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(rig: Rig, fields: Any, error: type[Exception]) -> None:
    pool = await make(rig, min=0, max=1)
    await rig.plane.pools.create(rig.me, PoolRequest(MachineRequest("alpine"), "other", min=0))
    before = rig.plane.pools.find(rig.me, pool).pool
    with pytest.raises(error):
        await change(rig, pool, **fields)
    assert rig.plane.pools.find(rig.me, pool).pool == before
    with pytest.raises(errors.NotFound):
        await change(rig, PoolId("none"), **fields)


async def limit(rig: Rig, **limits: int) -> None:
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(**limits))


@pytest.mark.parametrize("limits", [{"running": 2}, {"cpus": 2}, {"memory_mib": 1024}])
async def test_members_count_in_the_quota_and_only_as_many_are_made_as_fit(rig: Rig, limits: dict[str, int]) -> None:
    await limit(rig, **limits)
    pool = await make(rig, MachineRequest("alpine", cpus=1, memory_mib=512), min=3)
    await come(rig, pool, 2)
    await turn(50)
    status = rig.plane.pools.find(rig.me, pool)
    assert (status.ready, isinstance(status.error, errors.QuotaExceeded)) == (2, True)
    assert rig.plane.core.quotas.used(rig.me.tenant)[:4] == (0, 2, 2, 1024)
    await change(rig, pool, state=PoolState.DRAINING)
    assert rig.plane.core.quotas.used(rig.me.tenant) == (0,) * 7


async def test_a_machine_that_takes_a_member_takes_its_place_in_the_quota(rig: Rig) -> None:
    await limit(rig, running=1)
    pool = await make(rig)
    await come(rig, pool, 1)
    machine = await checkout(rig, pool, REQUIRE)
    assert machine.state is State.RUNNING
    await rig.settle()
    assert rig.plane.core.quotas.used(rig.me.tenant).running == 1


async def test_members_give_their_place_in_the_quota_to_a_machine(rig: Rig) -> None:
    await limit(rig, running=2)
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    for ready in (1, 0):
        await rig.launch(image="debian")
        assert rig.plane.pools.find(rig.me, pool).ready == ready
    with pytest.raises(errors.QuotaExceeded, match=r"2 of 2 in use \(running\)"):
        await rig.launch(image="debian")


async def test_members_of_another_tenant_stay(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    tenant = await rig.plane.tenants.create(rig.me, "other", Limits(running=0))
    _, token = await rig.plane.keys.create(rig.me, tenant=tenant.id)
    with pytest.raises(errors.QuotaExceeded):
        await rig.plane.machines.launch(rig.plane.keys.authenticate(token), MachineRequest("alpine"))
    assert rig.plane.pools.find(rig.me, pool).ready == 1


async def hours(rig: Rig) -> float:
    return (await rig.plane.usage.report(rig.me)).usage.memory_gib_hours


async def test_the_memory_of_ready_members_is_charged(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    rig.clock.advance(3600)
    assert await hours(rig) == pytest.approx(1.0)  # two of 512 MiB
    await change(rig, pool, min=1)
    rig.clock.advance(3600)
    await rig.plane.pools.delete(rig.me, pool)
    rig.clock.advance(3600)
    assert await hours(rig) == pytest.approx(1.5)
    assert (await rig.plane.usage.report(rig.me)).usage.machines == 0


async def test_no_second_of_a_members_memory_is_charged_after_a_crash(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    rig.clock.advance(3600)
    await rig.plane.core.meter.beat()
    rig.clock.advance(1800)
    rig.world.faults.gate = asyncio.Event()
    await rig.crash_and_restart()
    rig.clock.advance(3600)
    assert await hours(rig) == pytest.approx(0.5)


async def test_heartbeats_are_written_one_after_the_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an interval could begin before the one it follows has ended."""
    beat, gate, under_way = rig.store.beat, asyncio.Event(), []

    async def slow(*rest: Any) -> None:
        under_way.append(len(under_way))
        await gate.wait()
        await beat(*rest)

    pool = await make(rig)
    await come(rig, pool, 1)
    monkeypatch.setattr(rig.store, "beat", slow)
    first = soon(rig.plane.core.meter.beat())
    await turn()
    await rig.launch()
    second = soon(rig.plane.core.meter.beat())
    await turn()
    assert under_way == [0]
    gate.set()
    await asyncio.gather(first, second)
    assert under_way == [0, 1]


async def test_no_second_of_a_member_is_charged_twice_though_a_heartbeat_only_seemed_to_fail(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, meter, real = await make(rig), rig.plane.core.meter, rig.store.beat
    await come(rig, pool, 1)
    rig.clock.advance(20)  # less than a heartbeat: both turns are written by one
    await rig.plane.pools.change(rig.me, pool, PoolChange(state=PoolState.DRAINING))
    await rig.settle()

    async def lose_the_answer(*arguments: Any) -> None:
        await real(*arguments)
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "beat", lose_the_answer)
        with pytest.raises(errors.HutchError):
            await meter.beat()
    rig.clock.advance(20)
    assert (await rig.plane.usage.report(rig.me)).usage.memory_gib_hours == pytest.approx(0.5 * 20 / 3600)
