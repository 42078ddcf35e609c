"""Jobs: what becomes of them when nobody waits."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hutch.control import ending, jobs
from hutch.control.commands import Command, Stream
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.jobs import Job, JobState
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


async def start(rig: Rig, machine: MachineId, line: str, **options: Any) -> Job:
    return await rig.plane.jobs.start(rig.me, machine, Command(argv=("sh", "-c", line), **options))


async def seen(rig: Rig, job: Job, is_so: Callable[[Job], bool]) -> Job:
    """As it is when it has become so, as one sees who asks for it."""
    async with asyncio.timeout(LIMIT):
        while not is_so(now := await rig.plane.jobs.get(rig.me, job.machine, job.id)):
            await asyncio.sleep(0.01)
    return now


async def ended(rig: Rig, job: Job) -> Job:
    return await seen(rig, job, lambda now: now.state is not JobState.RUNNING)


async def stored(rig: Rig, job: Job) -> Job:
    """As it is recorded, once it does not run any more; nobody asks for it."""
    async with asyncio.timeout(LIMIT):
        while True:
            found = await rig.store.get_job(job.machine, job.id)
            assert found is not None
            if found.state is not JobState.RUNNING:
                return found
            await turn()
            rig.clock.advance(1)
            await asyncio.sleep(0.01)


async def read(rig: Rig, job: Job, stream: Stream = Stream.STDOUT, **page: Any) -> jobs.Page:
    return await rig.plane.jobs.output(rig.me, job.machine, job.id, stream, **page)


async def test_a_job_starts_its_machine_and_is_told_at_once(rig: Rig) -> None:
    machine = await rig.create()
    job = await start(rig, machine, "sleep 1000")
    assert (job.state, job.command, job.exit_code) == (JobState.RUNNING, ("sh", "-c", "sleep 1000"), None)
    assert rig.state(machine) is State.RUNNING
    assert (await rig.plane.jobs.get(rig.me, machine, job.id)).state is JobState.RUNNING


async def test_the_end_of_a_job_is_told_with_its_code_and_sizes(rig: Rig) -> None:
    job = await ended(rig, await start(rig, await rig.launch(), "echo out; echo error >&2; exit 3"))
    assert (job.state, job.exit_code, job.stdout_bytes, job.stderr_bytes) == (JobState.EXITED, 3, 4, 6)
    assert job.finished_at == rig.clock.now()


async def test_the_end_of_a_job_is_recorded_though_nobody_asks(rig: Rig) -> None:
    job = await start(rig, await rig.launch(), "exit 4")
    assert (await stored(rig, job)).exit_code == 4


async def test_a_time_limit_is_124(rig: Rig) -> None:
    assert (await ended(rig, await start(rig, await rig.launch(), "sleep 1000", timeout=0.1))).exit_code == 124


async def test_a_program_that_is_not_there_is_no_job(rig: Rig) -> None:
    machine = await rig.launch()
    with pytest.raises(errors.GuestNotFound):
        await rig.plane.jobs.start(rig.me, machine, Command(argv=("no-such-program",)))
    assert await rig.plane.jobs.list(rig.me, machine) == []


async def test_output_is_read_in_pages(rig: Rig) -> None:
    job = await ended(rig, await start(rig, await rig.launch(), "seq 1 100000; echo error >&2"))
    data, at = b"", 0
    while True:
        page = await read(rig, job, offset=at, limit=100_000)
        assert (page.offset, page.next_offset) == (at, at + len(page.data))
        data, at = data + page.data, page.next_offset
        if page.is_end:
            break
    assert data == b"".join(b"%d\n" % number for number in range(1, 100001))
    assert await read(rig, job, Stream.STDERR) == jobs.Page(Stream.STDERR, 0, b"error\n", is_end=True)


async def test_a_page_has_at_most_one_mib_and_begins_where_the_bytes_do(rig: Rig) -> None:
    job = await ended(rig, await start(rig, await rig.launch(), "head -c 3000000 /dev/zero"))
    page = await read(rig, job, limit=10_000_000)
    assert (page.offset, len(page.data), page.is_end) == (3_000_000 - 2**20, 2**20, True)


async def test_the_page_of_a_job_that_runs_is_not_the_last(rig: Rig) -> None:
    job = await start(rig, await rig.launch(), "echo begun; sleep 1000")
    await seen(rig, job, lambda now: now.stdout_bytes == 6)
    assert await read(rig, job) == jobs.Page(Stream.STDOUT, 0, b"begun\n", is_end=False)
    assert await read(rig, job, offset=6) == jobs.Page(Stream.STDOUT, 6, b"", is_end=False)


async def test_a_job_that_nobody_reads_does_not_wait(rig: Rig) -> None:
    assert (
        await ended(rig, await start(rig, await rig.launch(), "head -c 5000000 /dev/zero"))
    ).stdout_bytes == 5_000_000


@pytest.mark.parametrize("line", ["sleep 1000", "trap 'exit 0' TERM; echo; while :; do sleep 0.01; done"])
async def test_a_cancelled_job_is_143(rig: Rig, line: str) -> None:
    job = await start(rig, await rig.launch(), line)
    await asyncio.sleep(0.05)
    told = await rig.plane.jobs.cancel(rig.me, job.machine, job.id)
    assert (told.state, told.exit_code) == (JobState.EXITED, 143)
    assert await rig.plane.jobs.cancel(rig.me, job.machine, job.id) == told


async def test_one_that_will_not_end_is_killed_and_143_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GRACE", 0.1)
    job = await start(rig, await rig.launch(), "trap '' TERM; echo; while :; do sleep 0.01; done")
    await seen(rig, job, lambda now: now.stdout_bytes > 0)
    assert (await rig.plane.jobs.cancel(rig.me, job.machine, job.id)).exit_code == 143


async def test_to_cancel_what_has_ended_changes_nothing(rig: Rig) -> None:
    job = await start(rig, await rig.launch(), "exit 5")
    await asyncio.sleep(0.1)
    assert (await rig.plane.jobs.cancel(rig.me, job.machine, job.id)).exit_code == 5


async def test_a_caller_that_goes_away_leaves_a_recorded_job(rig: Rig) -> None:
    machine = await rig.create()
    starting = soon(start(rig, machine, "sleep 1000"))
    await turn(3)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await rig.settle()
    assert [job.state for job in await rig.plane.jobs.list(rig.me, machine)] == [JobState.RUNNING]


@pytest.mark.parametrize("end", ["restart", "crash_and_restart"])
async def test_a_job_outlives_the_service(rig: Rig, end: str) -> None:
    machine = await rig.launch()
    going, short = await start(rig, machine, "sleep 1000"), await start(rig, machine, "sleep 0.1; exit 6")
    await getattr(rig, end)()
    assert (await stored(rig, short)).exit_code == 6
    assert (await rig.plane.jobs.get(rig.me, machine, going.id)).state is JobState.RUNNING


async def test_a_job_is_lost_when_its_machine_stops(rig: Rig) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "sleep 1000")
    await rig.plane.machines.stop(rig.me, machine)
    lost = await stored(rig, job)
    assert (lost.state, lost.exit_code, lost.finished_at is not None) == (JobState.LOST, None, True)
    assert await rig.plane.jobs.list(rig.me, machine) == [lost]
    assert await read(rig, job, offset=7) == jobs.Page(Stream.STDOUT, 7, b"", is_end=True)
    assert await rig.plane.jobs.cancel(rig.me, machine, job.id) == lost
    assert rig.state(machine) is State.STOPPED


async def test_a_job_is_lost_when_its_machine_dies_or_was_started_again(rig: Rig) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "sleep 1000")
    await rig.world.die(machine)
    await rig.come(machine, State.FAILED)
    await rig.plane.machines.start(rig.me, machine)
    assert (await ended(rig, job)).state is JobState.LOST


async def test_a_job_that_was_seen_to_end_is_not_lost(rig: Rig) -> None:
    machine = await rig.launch()
    job = await ended(rig, await start(rig, machine, "exit 7"))
    await rig.plane.machines.stop(rig.me, machine)
    await rig.plane.machines.start(rig.me, machine)
    assert await rig.plane.jobs.get(rig.me, machine, job.id) == job


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_a_job_stands_still_with_its_machine_and_is_not_woken_by_looking(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "read line; exit 8", stdin=b"x\n")
    other = await start(rig, machine, "sleep 1000")
    await ended(rig, job)
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    assert (await rig.plane.jobs.get(rig.me, machine, other.id)).state is JobState.RUNNING
    assert rig.state(machine) in (State.PAUSED, State.SUSPENDED)
    assert (await rig.plane.jobs.cancel(rig.me, machine, other.id)).exit_code == 143
    assert rig.state(machine) is State.RUNNING


async def test_jobs_go_with_their_machine(rig: Rig) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "sleep 1000")
    await rig.plane.machines.delete(rig.me, machine)
    with pytest.raises(errors.NotFound):
        await rig.plane.jobs.get(rig.me, machine, job.id)
    assert await rig.store.list_running_jobs() == []


async def test_jobs_are_listed_newest_first(rig: Rig) -> None:
    machine = await rig.launch()
    made = [(await start(rig, machine, "true")).id for _ in range(3)]
    assert [job.id for job in await rig.plane.jobs.list(rig.me, machine)] == made[::-1]
    assert [job.id for job in await rig.plane.jobs.list(rig.me, machine, limit=1)] == made[2:]


async def test_an_agent_that_does_not_answer_loses_no_job(rig: Rig) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "sleep 1000")
    rig.world.faults.silent.add(machine)
    assert (await rig.plane.jobs.get(rig.me, machine, job.id)).state is JobState.RUNNING
    rig.world.faults.silent.clear()


async def test_a_job_that_cannot_be_recorded_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Job) -> None:
        raise errors.HutchError("the database is gone")

    machine = await rig.launch()
    monkeypatch.setattr(rig.store, "add_job", fail)
    with pytest.raises(errors.HutchError, match="database"):
        await start(rig, machine, "sleep 1000")
    await rig.settle()
    assert await rig.plane.processes.list(rig.me, machine) == []


async def test_an_end_that_cannot_be_recorded_is_recorded_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Job) -> None:
        raise errors.HutchError("the database is gone")

    job = await start(rig, await rig.launch(), "exit 9")
    monkeypatch.setattr(rig.store, "save_job", fail)
    await asyncio.sleep(0.1)
    assert (await rig.plane.jobs.get(rig.me, job.machine, job.id)).state is JobState.RUNNING
    monkeypatch.undo()
    assert (await ended(rig, job)).exit_code == 9


async def test_long_jobs_are_looked_at_more_seldom(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()
    await start(rig, machine, "sleep 1000")
    asked, real = [0], rig.plane.core.host.processes.list

    async def count(it: MachineId) -> Any:
        asked[0] += 1
        return await real(it)

    monkeypatch.setattr(rig.plane.core.host.processes, "list", count)
    for _ in range(600):
        await turn(12)
        rig.clock.advance(1)
    assert 25 < asked[0] < 80


async def test_only_so_many_run_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_RUNNING", 1)
    machine = await rig.launch()
    job = await start(rig, machine, "sleep 1000")
    with pytest.raises(errors.Conflict, match="jobs run in the machine already"):
        await start(rig, machine, "true")
    await rig.plane.jobs.cancel(rig.me, machine, job.id)
    await start(rig, machine, "true")


async def test_what_makes_no_sense_is_refused(rig: Rig) -> None:
    machine = await rig.launch()
    job = await start(rig, machine, "true")
    for call in (
        rig.plane.jobs.start(rig.me, machine, Command()),
        rig.plane.jobs.list(rig.me, machine, limit=0),
        read(rig, job, offset=-1),
        read(rig, job, limit=0),
    ):
        with pytest.raises(errors.InvalidRequest):
            await call


async def test_every_call_needs_its_scope_tenant_and_job(rig: Rig) -> None:
    its, machine = rig.plane.jobs, await rig.launch()
    job = await start(rig, machine, "true")
    poor, stranger = await rig.someone("usage:read"), await rig.someone(tenant="other")
    for who, kind in ((poor, errors.Forbidden), (stranger, errors.NotFound)):
        for call in (its.start(who, machine, Command(argv=("true",))), its.list(who, machine)):
            with pytest.raises(kind):
                await call
    for who, id, kind in (
        (poor, job.id, errors.Forbidden),
        (stranger, job.id, errors.NotFound),
        (rig.me, "nothing", errors.NotFound),
    ):
        for call in (
            its.get(who, machine, id),
            its.output(who, machine, id, Stream.STDOUT),
            its.cancel(who, machine, id),
        ):
            with pytest.raises(kind):
                await call
