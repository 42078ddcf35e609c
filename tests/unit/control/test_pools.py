"""Warm pools: filled, claimed, refilled, given up for memory, and ended."""

import asyncio
from typing import Any

import pytest

from hutch.control.machines import MachineRequest
from hutch.control.pools import PoolRequest
from hutch.control.warm import MAX_RETRY, Warm
from hutch.host.interface import Life
from hutch.model import errors, ids
from hutch.model.ids import PoolId, TenantId
from hutch.model.machine import ImageRef, MachineSpec, NetworkMode, NetworkPolicy, Pool, Resources
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


async def make(rig: Rig, machine: MachineRequest | None = None, **fields: Any) -> PoolId:
    request = PoolRequest(**{"machine": machine or MachineRequest("alpine"), "name": "warm", **fields})
    return (await rig.plane.pools.create(rig.me, request)).pool.id


async def come(rig: Rig, pool: PoolId, ready: int) -> None:
    """Wait until so many members are ready."""
    async with asyncio.timeout(LIMIT):
        while rig.plane.pools.find(rig.me, pool).ready != ready:
            rig.plane.core.fleet.members.tick()
            await asyncio.sleep(0)
    await rig.settle()


def members(rig: Rig) -> set[str]:
    """What the host has and no record tells of."""
    return set(rig.world.machines) - {machine.id for machine in rig.plane.machines.list(rig.me)}


async def test_members_are_made_warmed_and_paused(rig: Rig) -> None:
    pool = await make(rig, min=2, warm_up=("sh", "-c", "echo warm >workspace/file"))
    await come(rig, pool, 2)
    assert {rig.world.machines[member].life for member in list(rig.world.machines)} == {Life.PAUSED}
    assert all((it.root / "workspace/file").read_text() == "warm\n" for it in rig.world.machines.values())
    assert rig.plane.machines.list(rig.me) == []
    assert rig.plane.core.fleet.admission.promised_mib == 2 * 512


async def test_they_are_made_one_at_a_time(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    pool = await make(rig, min=3)
    await turn(50)
    assert (len(rig.world.machines), rig.plane.pools.find(rig.me, pool).making) == (1, 1)
    rig.world.faults.gate.set()
    await come(rig, pool, 3)


async def test_a_start_that_fits_takes_one_and_it_is_replaced(rig: Rig) -> None:
    pool = await make(rig, warm_up=("sh", "-c", "echo warm >workspace/file"))
    await come(rig, pool, 1)
    (member,) = members(rig)
    machine = await rig.launch(env={"A": "b"})
    assert member not in rig.world.machines
    assert (await rig.run(machine, "cat workspace/file")).stdout == b"warm\n"
    assert (await rig.messages(machine))[-1].endswith(", out of pool warm")
    assert rig.plane.pools.find(rig.me, pool).claimed == 1
    rig.clock.advance(61)
    await come(rig, pool, 1)
    assert rig.plane.core.fleet.admission.promised_mib == 2 * 512


async def test_a_use_takes_one_too(rig: Rig) -> None:
    await come(rig, await make(rig), 1)
    machine = await rig.create()
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"
    assert (await rig.messages(machine))[-1].endswith(", out of pool warm")


async def test_a_machine_that_has_run_or_is_of_a_snapshot_takes_none(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.snapshots.create(rig.me, machine, "s")
    await rig.plane.machines.stop(rig.me, machine)
    copy = await rig.create(image="", snapshot="s")
    await rig.plane.machines.stop(rig.me, copy)
    pool = await make(rig)
    await come(rig, pool, 1)
    for it in (machine, copy):
        await rig.plane.machines.start(rig.me, it)
    assert rig.plane.pools.find(rig.me, pool).claimed == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "debian"},
        {"cpus": 2},
        {"memory_mib": 256},
        {"disk_gib": 10},
        {"network": NetworkPolicy(NetworkMode.BLOCKED)},
    ],
)
async def test_what_differs_is_started_as_any_other(rig: Rig, fields: dict[str, Any]) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    await rig.launch(**fields)
    status = rig.plane.pools.find(rig.me, pool)
    assert (status.claimed, status.ready) == (0, 1)


async def test_another_tenant_takes_none(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    other = await rig.someone(tenant="other")
    machine = await rig.plane.machines.create(other, MachineRequest("alpine"))
    await rig.plane.machines.start(other, machine.id)
    assert rig.plane.pools.find(rig.me, pool).claimed == 0
    assert rig.plane.pools.list(other) == []
    for call in (rig.plane.pools.delete, rig.plane.pools.checkout):
        with pytest.raises(errors.NotFound):
            await call(other, pool)


@pytest.mark.parametrize("error", [errors.Conflict("it differs"), OSError("/secret/path")])
async def test_a_claim_that_fails_is_an_ordinary_start(rig: Rig, error: Exception) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    rig.world.faults.fails["claim"] = [error]
    machine = await rig.launch()
    assert rig.life(machine) is Life.RUNNING
    told = next(message for message in await rig.messages(machine) if message.startswith("not out of pool warm: "))
    assert "/secret" not in told
    await rig.settle()
    rig.clock.advance(61)
    await come(rig, pool, 1)
    assert rig.plane.core.fleet.admission.promised_mib == 2 * 512


async def test_a_stop_in_the_middle_of_a_claim_leaves_a_stopped_machine_and_no_member(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    (member,) = members(rig)
    rig.world.faults.gates["claim"] = asyncio.Event()
    machine = await rig.create()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await turn()
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.STOPPED
    with pytest.raises(errors.Conflict, match="the start was ended by a stop"):
        await starting
    await come(rig, pool, 1)
    assert member not in rig.world.machines
    assert rig.plane.core.fleet.admission.promised_mib == 512 * len(members(rig))


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_a_service_that_dies_in_a_claim_leaves_the_machine_whole_and_no_old_member(
    rig: Rig, is_claimed: bool
) -> None:
    await come(rig, await make(rig), 1)
    (member,) = members(rig)
    machine = await rig.create()
    for verb in ("claim", "create"):  # the next member is not begun either
        rig.world.faults.gates[verb] = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await rig.crash()
    rig.world.faults.gates.clear()
    if is_claimed:
        rig.world.run(rig.world.machines[machine])
    await rig.crash_and_restart()
    assert rig.state(machine) is (State.RUNNING if is_claimed else State.STOPPED)
    assert member not in rig.world.machines
    assert starting.done()


async def test_a_member_that_was_taken_for_a_start_that_could_not_be_recorded_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await come(rig, await make(rig), 1)
    (member,) = members(rig)
    machine = await rig.create()

    async def refuse(*_: object) -> None:
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "save_machine", refuse)
        with pytest.raises(errors.HutchError, match="the database failed"):
            await rig.plane.machines.start(rig.me, machine)
    await rig.settle()
    assert (rig.state(machine), member in rig.world.machines) == (State.STOPPED, False)
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_a_pool_grows_with_claims_and_falls_back(rig: Rig) -> None:
    pool = await make(rig, min=1, max=3)
    await come(rig, pool, 1)
    for ready in (2, 3, 3):
        await rig.launch()
        await come(rig, pool, ready)
    rig.clock.advance(61)
    rig.plane.core.keeper.sweep()
    await come(rig, pool, 1)
    assert len(members(rig)) == 1


async def test_a_member_that_cannot_be_made_is_tried_again_later_and_the_reason_is_told(rig: Rig) -> None:
    pool = await make(rig, warm_up=("sh", "-c", "echo no such thing >&2; exit 3"))
    await turn(200)
    async with asyncio.timeout(LIMIT):
        while rig.plane.pools.find(rig.me, pool).reason is None:
            await asyncio.sleep(0.01)
    reason = rig.plane.pools.find(rig.me, pool).reason
    assert reason == "its warm-up command ended with 3: no such thing"
    assert members(rig) == set()
    assert rig.plane.core.fleet.admission.promised_mib == 0
    rig.plane.core.keeper.sweep()
    await turn()
    assert rig.plane.pools.find(rig.me, pool).making == 0


async def test_a_member_is_made_when_what_was_wrong_is_over(rig: Rig) -> None:
    rig.world.faults.starts = [errors.ImageUnavailable("registry says no"), RuntimeError("/secret/path")]
    pool = await make(rig)
    await turn(50)
    assert rig.plane.pools.find(rig.me, pool).reason == "registry says no"
    rig.clock.advance(1)
    rig.plane.core.keeper.sweep()
    await turn(50)
    assert "/secret" not in str(rig.plane.pools.find(rig.me, pool).reason)
    rig.clock.advance(2)
    rig.plane.core.keeper.sweep()
    await come(rig, pool, 1)
    assert rig.plane.pools.find(rig.me, pool).reason is None


async def test_members_make_room_for_a_machine(rig: Rig) -> None:
    rig.world.memory_mib = 4 * 512
    old, new = await make(rig, name="old", min=2), await make(rig, name="new", min=2)
    await come(rig, old, 2)
    await come(rig, new, 2)
    machine = await rig.launch(memory_mib=1024)
    assert rig.state(machine) is State.RUNNING
    assert [status.ready for status in rig.plane.pools.list(rig.me)] == [2, 0]  # the newest pool gave way
    assert rig.plane.pools.find(rig.me, new).reason == "its memory was needed by a machine"
    rig.clock.advance(1000)
    rig.plane.core.keeper.sweep()
    await turn(50)
    assert "not enough memory" in str(rig.plane.pools.find(rig.me, new).reason)
    assert rig.plane.pools.find(rig.me, old).ready == 2


async def test_a_machine_that_fits_in_no_case_is_still_refused(rig: Rig) -> None:
    rig.world.memory_mib = 4 * 512
    machine = await rig.create(memory_mib=4 * 512)
    await rig.launch()
    await come(rig, await make(rig), 1)
    with pytest.raises(errors.NoCapacity):
        await rig.plane.machines.start(rig.me, machine)


async def test_a_claim_is_a_new_running_machine_of_the_pools_shape(rig: Rig) -> None:
    pool = await make(rig, MachineRequest("alpine", cpus=2, memory_mib=256))
    await come(rig, pool, 1)
    machine = await rig.plane.pools.checkout(rig.me, pool, MachineRequest("", name="mine", labels={"k": "v"}))
    assert (machine.name, machine.state, machine.labels) == ("mine", State.RUNNING, {"k": "v"})
    assert (machine.spec.resources.cpus, machine.spec.resources.memory_mib) == (2, 256)
    assert "starting: claimed from pool warm" in await rig.messages(machine.id)
    assert rig.plane.pools.find(rig.me, pool).claimed == 1


async def test_a_claim_of_an_empty_pool_is_made_as_any_other(rig: Rig) -> None:
    pool = await make(rig, min=0)
    machine = await rig.plane.pools.checkout(rig.me, pool)
    assert rig.life(machine.id) is Life.RUNNING
    assert "pool" not in (await rig.messages(machine.id))[-1]


async def test_a_claim_that_cannot_be_started_leaves_no_machine(rig: Rig) -> None:
    pool = await make(rig, min=0)
    rig.world.faults.starts = [errors.MachineFailed("no")]
    with pytest.raises(errors.MachineFailed):
        await rig.plane.pools.checkout(rig.me, pool)
    assert rig.plane.machines.list(rig.me) == []


@pytest.mark.parametrize("fields", [{"cpus": 3}, {"image": "debian"}, {"disk_gib": 3}, {"snapshot": "s", "image": ""}])
async def test_a_claim_of_another_shape_is_refused(rig: Rig, fields: dict[str, Any]) -> None:
    pool = await make(rig, min=0)
    with pytest.raises(errors.InvalidRequest, match="machines of pool warm have their own"):
        await rig.plane.pools.checkout(rig.me, pool, MachineRequest(**{"image": "alpine", **fields}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min": -1}, "min is -1 and max is -1"),
        ({"min": 2, "max": 1}, "min is 2 and max is 1"),
        ({"min": 65}, "0 to 64 each"),
        ({"name": "a b"}, "name 'a b'"),
        ({"warm_up": ("",)}, "warm-up is empty"),
        ({"machine": MachineRequest("")}, "image is empty"),
        ({"machine": MachineRequest("alpine", env={"A": "b"})}, "give all else when one is claimed"),
    ],
)
async def test_a_pool_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        await make(rig, **fields)


async def test_a_name_is_its_own_until_the_pool_is_deleted(rig: Rig) -> None:
    results = await asyncio.gather(*(make(rig, min=0) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results].count(errors.Conflict) == 4
    await rig.plane.pools.delete(rig.me, rig.plane.pools.find(rig.me, "warm").pool.id)
    await make(rig, min=0)


async def test_a_deleted_pool_takes_its_members_along(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    machine = await rig.launch()
    await rig.plane.pools.delete(rig.me, pool)
    await rig.settle()
    assert set(rig.world.machines) == {machine}
    assert rig.plane.pools.list(rig.me) == []
    assert rig.plane.core.fleet.admission.promised_mib == 512
    assert list((await rig.store.load()).pools) == []


async def test_a_pool_that_is_deleted_while_a_member_is_made_leaves_none(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    pool = await make(rig)
    await turn(20)
    await rig.plane.pools.delete(rig.me, pool)
    assert rig.world.machines == {}


async def test_a_member_that_dies_is_replaced(rig: Rig) -> None:
    pool = await make(rig)
    await come(rig, pool, 1)
    (member,) = members(rig)
    await rig.world.die(ids.MachineId(member), "killed")
    await come(rig, pool, 0)
    assert rig.plane.pools.find(rig.me, pool).reason == "a member died: killed"
    rig.clock.advance(1)
    await come(rig, pool, 1)
    assert member not in rig.world.machines


async def test_members_do_not_outlive_a_service_that_ends(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    await rig.plane.close()
    assert rig.world.machines == {}


async def test_a_pool_is_filled_again_by_the_next_service(rig: Rig) -> None:
    pool = await make(rig, min=2)
    await come(rig, pool, 2)
    before = members(rig)
    await rig.crash_and_restart()
    await come(rig, pool, 2)
    assert len(members(rig)) == 2
    assert not before & members(rig)


async def test_what_is_being_made_does_not_hold_up_the_end(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    await make(rig)
    await turn(20)
    await asyncio.wait_for(rig.plane.close(), 5)
    assert rig.world.machines == {}


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    pool = await make(rig, min=0)
    nobody = await rig.someone("usage:read")
    pools = rig.plane.pools
    for work in (
        pools.create(nobody, PoolRequest(MachineRequest("alpine"))),
        pools.checkout(nobody, pool),
        pools.delete(nobody, pool),
    ):
        with pytest.raises(errors.Forbidden):
            await work
    with pytest.raises(errors.Forbidden):
        pools.list(nobody)
    with pytest.raises(errors.NotFound):
        pools.find(rig.me, "none")


def test_failures_are_spaced_out_more_and_more(rig: Rig) -> None:
    spec = MachineSpec(ImageRef("alpine", "sha256:1"), Resources(1, 512, 20), "web")
    warm, now = Warm(Pool(PoolId("p"), TenantId("t"), "warm", spec, 1, 1, None, rig.clock.now())), rig.clock.now()
    waits = []
    for _ in range(20):
        warm.put_off(now, errors.MachineFailed("no"))
        assert warm.retry_at is not None
        waits.append((warm.retry_at - now).total_seconds())
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == MAX_RETRY.total_seconds()
