"""Quotas: what a tenant may have at once, counted from the records and from what is being made."""

import asyncio
import dataclasses
from typing import Any

import pytest

from hutch.control import quotas
from hutch.control.machines import ForkRequest, MachineRequest
from hutch.control.quotas import Use
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.keys import Limits
from hutch.model.machine import Machine
from hutch.model.states import State
from unit.control.rig import Rig


async def allow(rig: Rig, **limits: Any) -> None:
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(**limits))


def used(rig: Rig) -> Use:
    return rig.plane.core.quotas.used(rig.me.tenant)


async def at_once(*work: Any) -> tuple[int, list[errors.HutchError]]:
    """How many of these came through, and why the others did not."""
    done = await asyncio.gather(*work, return_exceptions=True)
    failed = [it for it in done if isinstance(it, errors.HutchError)]
    return len(done) - len(failed), failed


async def test_the_error_names_limit_value_and_use(rig: Rig) -> None:
    await allow(rig, machines=2)
    for _ in range(2):
        await rig.create()
    with pytest.raises(errors.QuotaExceeded, match=r"1 more machines asked for, 2 of 2 in use \(machines\)"):
        await rig.create()


async def test_machines_asked_for_at_once_are_made_exactly_as_far_as_the_quota_goes(rig: Rig) -> None:
    await allow(rig, machines=7)
    made, failed = await at_once(*(rig.create() for _ in range(20)))
    assert (made, {type(error) for error in failed}) == (7, {errors.QuotaExceeded})
    assert used(rig).machines == 7


async def test_a_machine_that_is_deleted_or_could_not_be_made_frees_its_place(rig: Rig) -> None:
    await allow(rig, machines=1)
    with pytest.raises(errors.ImageUnavailable):
        await rig.create(image="missing:image")
    for _ in range(3):
        await rig.plane.machines.delete(rig.me, await rig.create())
    assert used(rig) == Use()


@pytest.mark.parametrize("limits", [{"running": 3}, {"cpus": 3}, {"memory_mib": 3 * 64}])
async def test_machines_started_at_once_run_exactly_as_far_as_the_quota_goes(rig: Rig, limits: dict[str, int]) -> None:
    await allow(rig, **limits)
    machines = [await rig.create(cpus=1, memory_mib=64) for _ in range(8)]
    started, failed = await at_once(*(rig.plane.machines.start(rig.me, machine) for machine in machines))
    assert (started, {type(error) for error in failed}) == (3, {errors.QuotaExceeded})
    assert sorted(rig.state(machine) for machine in machines) == [State.RUNNING] * 3 + [State.STOPPED] * 5


async def test_a_stopped_or_suspended_machine_makes_room_and_a_paused_one_does_not(rig: Rig) -> None:
    await allow(rig, running=1)
    first, second = await rig.launch(), await rig.create()
    await rig.plane.machines.pause(rig.me, first)
    with pytest.raises(errors.QuotaExceeded):
        await rig.plane.machines.start(rig.me, second)
    await rig.plane.machines.suspend(rig.me, first)
    await rig.plane.machines.start(rig.me, second)
    with pytest.raises(errors.QuotaExceeded):
        await rig.run(first, "true")
    assert rig.state(first) is State.SUSPENDED
    assert "not started: quota exceeded" in (await rig.messages(first))[-1]


async def test_a_start_that_fails_frees_its_place(rig: Rig) -> None:
    await allow(rig, running=1)
    first, second = await rig.create(), await rig.create()
    rig.world.faults.starts = [errors.MachineFailed("no")]
    with pytest.raises(errors.MachineFailed):
        await rig.plane.machines.start(rig.me, first)
    await rig.plane.machines.start(rig.me, second)


async def test_a_fork_takes_all_its_places_or_none(rig: Rig) -> None:
    source = await rig.launch(cpus=1)
    for limits in ({"machines": 3}, {"running": 3}, {"cpus": 3}, {"disk_gib": 60}):
        await allow(rig, **limits)
        with pytest.raises(errors.QuotaExceeded, match=r"3 more|60 GiB more"):
            await rig.plane.machines.fork(rig.me, source, ForkRequest(count=3))
        assert used(rig).machines == 1
    await allow(rig, machines=3)
    await rig.plane.machines.fork(rig.me, source, ForkRequest(count=2))
    assert used(rig).running == 3


async def test_disks_of_machines_and_what_they_grow_by_are_counted(rig: Rig) -> None:
    await allow(rig, disk_gib=10)
    machine = await rig.create(disk_gib=6)
    with pytest.raises(errors.QuotaExceeded, match="5 GiB more disk"):
        await rig.create(disk_gib=5)
    with pytest.raises(errors.QuotaExceeded, match="5 GiB more disk"):
        await rig.plane.machines.resize(rig.me, machine, 11)
    await rig.plane.machines.resize(rig.me, machine, 10)
    assert used(rig).disk_gib == 10


async def test_snapshots_are_counted(rig: Rig) -> None:
    await allow(rig, snapshots=2)
    machine = await rig.launch()
    made, failed = await at_once(*(rig.plane.snapshots.create(rig.me, machine) for _ in range(4)))
    assert (made, len(failed)) == (2, 2)
    (snapshot, _) = rig.plane.snapshots.list(rig.me)
    await rig.plane.snapshots.delete(rig.me, snapshot.id)
    await rig.plane.snapshots.create(rig.me, machine)


async def test_lower_limits_take_nothing_away_and_stop_and_delete_go_on(rig: Rig) -> None:
    machine = await rig.launch()
    await allow(rig, machines=0, running=0)
    await rig.run(machine, "true")
    await rig.plane.machines.stop(rig.me, machine)
    with pytest.raises(errors.QuotaExceeded):
        await rig.plane.machines.start(rig.me, machine)
    await rig.plane.machines.delete(rig.me, machine)


async def test_fifty_machines_where_thirty_fit_are_thirty_and_twenty_typed_errors(rig: Rig) -> None:
    rig.world.memory_mib = 30 * 256 + 255

    async def launch(number: int) -> Machine:
        request = MachineRequest("alpine", name=f"m{number}", memory_mib=256)
        return await rig.plane.machines.launch(rig.me, request)

    made, failed = await at_once(*(launch(number) for number in range(50)))
    assert (made, [type(error) for error in failed]) == (30, [errors.NoCapacity] * 20)
    assert [it.state for it in rig.plane.machines.list(rig.me)] == [State.RUNNING] * 30
    assert rig.plane.core.fleet.admission.promised_mib == 30 * 256


def test_every_limit_but_the_rate_has_its_use() -> None:
    names = {field.name for field in dataclasses.fields(Limits)} - {"requests_per_second"}
    assert set(Use._fields) == set(quotas._WORDS) == names


@pytest.mark.parametrize("name", Use._fields)
def test_each_limit_is_exact(name: str) -> None:
    limits = Limits(**{name: 5})
    quotas.check(limits, Use(**{name: 3}), Use(**{name: 2}))
    with pytest.raises(errors.QuotaExceeded, match=rf"\({name}\)"):
        quotas.check(limits, Use(**{name: 3}), Use(**{name: 3}))
    quotas.check(limits, Use(**{name: 9}), Use(**{other: 9 for other in Use._fields if other != name}))


async def test_what_is_recorded_while_it_is_claimed_counts_once(rig: Rig) -> None:
    await allow(rig, machines=2)
    its = rig.plane.core.quotas
    machine = await rig.create()
    one = Use(machines=1)
    with its.claim(rig.me.tenant, {machine: one}), its.claim(rig.me.tenant, {MachineId("new"): one}):
        assert used(rig).machines == 2
    assert used(rig).machines == 1
