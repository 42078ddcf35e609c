"""A machine becomes another: it takes over a spare one, or has a larger disk; and what it takes of the host's disk."""

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy, Resources

MIB = 1024 * 1024


class ChangesSuite:
    @pytest.mark.parametrize("is_paused", [True, False])
    async def test_a_machine_goes_on_as_the_spare_it_claims_with_names_of_its_own(
        self, rig: Rig, is_paused: bool
    ) -> None:
        spare = await use.launch(rig, hostname="spare", env={"A": "spare"})
        counting = await use.count(rig, spare)
        for path in ("/dev/shm/warm", "/root/warm"):
            await use.put(rig, spare, path, b"warm")
        before = await use.get(rig, spare, "/run/hutch/instance-id")
        if is_paused:
            await rig.host.pause(spare)
        machine = await use.create(
            rig, hostname="mine", env={"A": "mine"}, workdir="/srv/down", command=("sh", "-c", "echo begun; sleep 1000")
        )
        await rig.host.claim(machine, spare)
        assert (use.life(rig, machine), rig.host.get(spare)) == (Life.RUNNING, None)
        line = "echo $A $HUTCH_MACHINE_ID"
        assert (await use.run(rig, machine, line)).stdout.decode().split() == ["mine", machine]
        assert (await use.get(rig, machine, "/etc/hostname")).strip() == b"mine"
        assert await use.get(rig, machine, "/run/hutch/instance-id") != before
        assert (await rig.host.processes.read(machine, "main", 0, 0, wait=20)).stdout == b"begun\n"
        for path in ("/dev/shm/warm", "/root/warm"):
            assert await use.get(rig, machine, path) == b"warm"
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_machine_that_claimed_is_one_like_any_other(self, rig: Rig) -> None:
        spare, machine = await use.launch(rig), await use.create(rig)
        counting = await use.count(rig, spare)
        await rig.host.pause(spare)
        await rig.host.claim(machine, spare)
        await rig.reopen()
        assert await use.tell(rig, machine, counting, "two") == "2 two"
        await rig.host.suspend(machine)
        await rig.host.start(machine)
        copy = await use.clone(rig, await use.snapshot(rig, machine))
        await rig.host.start(copy)
        for it in (machine, copy):
            assert await use.tell(rig, it, counting, "three") == "3 three"

    @pytest.mark.parametrize(
        "changes",
        [
            {"resources": Resources(1, 256, 1)},
            {"resources": Resources(1, 128, 2)},
            {"network": NetworkPolicy(NetworkMode.BLOCKED)},
        ],
    )
    async def test_a_spare_that_differs_cannot_be_claimed(self, rig: Rig, changes: dict[str, object]) -> None:
        spare, machine = await use.launch(rig), await use.create(rig, **changes)
        with pytest.raises(errors.Conflict):
            await rig.host.claim(machine, spare)
        assert use.life(rig, machine) is Life.STOPPED

    async def test_a_machine_that_was_started_claims_nothing(self, rig: Rig) -> None:
        spare, machine = await use.launch(rig), await use.launch(rig)
        with pytest.raises(errors.Conflict):
            await rig.host.claim(machine, spare)
        await rig.host.stop(machine, grace=0)
        with pytest.raises(errors.Conflict):
            await rig.host.claim(machine, spare)
        assert use.life(rig, machine) is Life.STOPPED

    @pytest.mark.parametrize("state", [Life.STOPPED, Life.RUNNING, Life.SUSPENDED])
    async def test_a_disk_grows(self, rig: Rig, state: Life) -> None:
        machine = await (use.create if state is Life.STOPPED else use.launch)(rig)
        if state is Life.SUSPENDED:
            await use.put(rig, machine, "/root/kept", b"kept")
            await rig.host.suspend(machine)
        await rig.host.resize(machine, 4)
        assert use.life(rig, machine) is state
        await rig.host.start(machine)
        assert (await rig.host.stats(machine)).disk_total > 3 * 2**30
        if state is Life.SUSPENDED:
            assert await use.get(rig, machine, "/root/kept") == b"kept"

    async def test_a_disk_does_not_shrink(self, rig: Rig) -> None:
        machine = await use.create(rig, resources=Resources(1, 128, 2))
        with pytest.raises(errors.InvalidRequest):
            await rig.host.resize(machine, 1)
        await rig.host.resize(machine, 2)
        await rig.host.start(machine)
        with pytest.raises(errors.InvalidRequest):
            await rig.host.resize(machine, 1)

    async def test_a_disk_that_has_grown_stays_so(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await rig.host.resize(machine, 4)
        await rig.host.suspend(machine)
        await rig.reopen()
        await rig.host.start(machine)
        assert (await rig.host.stats(machine)).disk_total > 3 * 2**30

    @pytest.mark.parametrize("state", [Life.STOPPED, Life.SUSPENDED])
    async def test_a_machine_at_rest_boots_from_its_own_disk_with_the_cpus_and_memory_it_is_given(
        self, rig: Rig, state: Life
    ) -> None:
        machine = await use.launch(rig)
        for path in ("/dev/shm/gone", "/root/kept"):
            await use.put(rig, machine, path, b"kept")
        await (rig.host.suspend(machine) if state is Life.SUSPENDED else rig.host.stop(machine, grace=20))
        await rig.host.reshape(machine, 2, 256)
        assert use.life(rig, machine) is Life.STOPPED
        await rig.reopen()
        found = rig.host.get(machine)
        assert found is not None
        assert found.resources == Resources(2, 256, 1)
        await rig.host.start(machine)
        assert 150 * MIB < (await rig.host.stats(machine)).memory_total <= 256 * MIB
        assert await use.get(rig, machine, "/root/kept") == b"kept"
        assert (await use.run(rig, machine, "test -e /dev/shm/gone")).exit.code != 0

    @pytest.mark.parametrize("is_optimized", [False, True])
    async def test_a_reshaped_machine_is_suspended_and_copied_like_any_other(
        self, rig: Rig, is_optimized: bool
    ) -> None:
        machine = await use.launch(rig)
        await rig.host.stop(machine, grace=0)
        await rig.host.reshape(machine, 1, 192)
        await rig.host.start(machine)
        counting = await use.count(rig, machine)
        copy = await use.clone(rig, snapshot := await use.snapshot(rig, machine), resources=Resources(1, 192, 1))
        await rig.host.suspend(machine)
        if is_optimized:
            await rig.host.optimize(snapshot)
            await rig.host.optimize_machine(machine)
        for it in (machine, copy):
            await rig.host.start(it)
            assert await use.tell(rig, it, counting, "two") == "2 two"

    async def test_a_machine_whose_state_was_optimized_boots_with_another_size(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/kept", b"kept")
        await rig.host.suspend(machine)
        await rig.host.optimize_machine(machine)
        await rig.host.start(machine)
        await rig.host.stop(machine, grace=20)
        await rig.host.reshape(machine, 1, 192)
        await rig.reopen()
        await rig.host.start(machine)
        assert 128 * MIB < (await rig.host.stats(machine)).memory_total <= 192 * MIB
        assert await use.get(rig, machine, "/root/kept") == b"kept"

    async def test_one_that_was_never_started_has_its_first_start_so(self, rig: Rig) -> None:
        machine = await use.create(rig)
        await rig.host.reshape(machine, 1, 192)
        await rig.host.start(machine)
        assert 128 * MIB < (await rig.host.stats(machine)).memory_total <= 192 * MIB

    async def test_a_machine_with_a_process_is_not_reshaped_and_one_that_is_so_already_keeps_its_memory(
        self, rig: Rig
    ) -> None:
        machine = await use.launch(rig)
        for change in (None, rig.host.pause):
            if change is not None:
                await change(machine)
            with pytest.raises(errors.Conflict, match="stop it first"):
                await rig.host.reshape(machine, 2, 128)
        await rig.host.suspend(machine)
        await rig.host.reshape(machine, 1, 128)
        assert use.life(rig, machine) is Life.SUSPENDED

    async def test_what_a_machine_writes_and_saves_takes_room_of_the_host(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        before = await rig.host.storage(machine)
        await use.put(rig, machine, "/root/file", bytes(range(256)) * (4 * MIB // 256))
        await use.run(rig, machine, "sync")
        written = await rig.host.storage(machine)
        assert written - before > 2 * MIB
        await rig.host.suspend(machine)
        assert await rig.host.storage(machine) > written

    async def test_a_machine_claims_no_other_one_twice(self, rig: Rig) -> None:
        spare, first, second = await use.launch(rig), await use.create(rig), await use.create(rig)
        await rig.host.claim(first, spare)
        with pytest.raises(errors.NotFound):
            await rig.host.claim(second, spare)
        assert (use.life(rig, first), use.life(rig, second)) == (Life.RUNNING, Life.STOPPED)
