"""Sessions, jobs and terminals in real machines: busybox's shell, and Debian's dash and bash."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hutch import settings
from hutch.control import plane
from hutch.control.clock import SystemClock
from hutch.control.commands import Command, Completed, Stream
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model.guest import Exit
from hutch.model.ids import MachineId
from hutch.model.jobs import JobState
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore

LIMIT = 60.0


class Box:
    """One machine, used through the control plane."""

    def __init__(self, control: ControlPlane, me: Principal, machine: MachineId) -> None:
        self.control, self.me, self.machine = control, me, machine

    async def make(self, **fields: object) -> str:
        session = await self.control.sessions.create(self.me, self.machine, **fields)  # type: ignore[arg-type]
        return session.id

    async def run(self, session: str, line: str, **options: object) -> Completed:
        command = Command(shell=line, **options)  # type: ignore[arg-type]
        return await self.control.sessions.run(self.me, self.machine, session, command)


@pytest.fixture(params=["tools", "debian"])
async def box(request: pytest.FixtureRequest, wanted: settings.Settings, tools: str) -> AsyncIterator[Box]:
    host = LocalHost(wanted, Paths(wanted.service.home))
    parts = plane.Parts(
        MemoryStore(), host, SystemClock(), contextlib.nullcontext(), "test", MemorySender(), MemoryProofs()
    )
    control = plane.assemble(parts, wanted)
    await control.open()
    try:
        token = await control.keys.bootstrap()
        assert token is not None
        me = control.keys.authenticate(token)
        image = tools if request.param == "tools" else "debian"
        memory = 128 if request.param == "tools" else 512
        machine = await control.machines.create(me, MachineRequest(image, memory_mib=memory, disk_gib=2))
        await control.machines.start(me, machine.id)
        yield Box(control, me, machine.id)
        await control.machines.delete(me, machine.id)
    finally:
        await control.close()


async def test_directory_and_variables_last_in_a_real_shell(box: Box) -> None:
    session = await box.make()
    assert (await box.run(session, "cd /tmp; export NAME='two words'; exit 3")).exit == Exit(code=3)
    done = await box.run(session, 'pwd; echo "$NAME"; cat', stdin=b"its own\n")
    assert (done.stdout, done.stderr) == (b"/tmp\ntwo words\nits own\n", b"")
    await box.run(session, "mkdir -p deep && cd deep; set -e; false")
    assert (await box.run(session, "pwd; cd - >/dev/null; pwd")).stdout == b"/tmp/deep\n/tmp\n"
    kept = box.control.sessions.get(box.me, box.machine, session)
    assert (kept.cwd, kept.env["NAME"]) == ("/tmp", "two words")


async def test_another_user_tells_too(box: Box) -> None:
    session = await box.make()
    await box.run(session, "cd /tmp; export NAME=1", user="12345")
    assert (await box.run(session, "pwd; echo $NAME; id -u", user="12345")).stdout == b"/tmp\n1\n12345\n"


async def test_what_tells_nothing_changes_nothing(box: Box) -> None:
    session = await box.make(cwd="/root")
    for line in ("cd /tmp; exec true", "cd /tmp; kill -9 $$"):
        await box.run(session, line)
    assert (await box.run(session, "pwd; if")).exit == Exit(code=2)
    assert (await box.run(session, "pwd")).stdout == b"/root\n"


async def test_a_job_and_a_terminal(box: Box) -> None:
    control, me, machine = box.control, box.me, box.machine
    job = await control.jobs.start(me, machine, Command(argv=("sh", "-c", "echo begun; sleep 1000")))
    async with asyncio.timeout(LIMIT):
        while (await control.jobs.output(me, machine, job.id, Stream.STDOUT)).data != b"begun\n":
            await asyncio.sleep(0.05)
    told = await control.jobs.cancel(me, machine, job.id)
    assert (told.state, told.exit_code, told.stdout_bytes) == (JobState.EXITED, 143, 6)
    terminal = await control.terminals.open(me, machine)
    found = await control.terminals.find(me, machine, str(terminal.pid))
    await control.terminals.write(me, found, b"stty size; exit 3\n")
    seen, end = b"", None
    async with asyncio.timeout(LIMIT), contextlib.aclosing(control.terminals.read(me, terminal)) as pages:
        async for page in pages:
            if isinstance(page, Exit):
                end = page
            else:
                seen += page
    assert b"24 80" in seen
    assert end == Exit(code=3)


async def test_lines_run_in_a_terminal_that_lives_on(box: Box) -> None:
    async def run(line: str, **options: object) -> Completed:
        command = Command(shell=line, user="root", **options)  # type: ignore[arg-type]
        return await box.control.shells.run(box.me, box.machine, "main", command)

    await run("mkdir -p /tmp/deep; cd /tmp/deep; NAME='two words'; f() { return 7; }")
    done = await run('pwd; echo "$NAME"; tty | cut -c1-9; echo $TERM; f')
    assert (done.stdout, done.exit) == (b"/tmp/deep\ntwo words\n/dev/pts/\nxterm-256color\n", Exit(code=7))
    assert (await run("echo (")).exit.code == 2
    for line in ("sleep 1000", "while :; do sleep 0.1; done", "sh -c 'trap \"\" INT; sleep 1000'"):
        assert (await run(line, timeout=3.0)).exit.timed_out
    assert (await run('echo "$NAME"')).stdout == b"two words\n"
    await box.control.machines.suspend(box.me, box.machine)
    assert (await run('echo "$NAME"; seq 20000 | tail -1; exit 4')).exit == Exit(code=4)
    terminal = await box.control.terminals.find(box.me, box.machine, "main")
    log = [(line.text, line.at is not None) for line in await box.control.terminals.log(box.me, terminal)]
    assert ('$ pwd; echo "$NAME"; tty | cut -c1-9; echo $TERM; f', True) in log
    assert not [text for text, _ in log if "HUTCH_ROOT" in text]
    left = await box.control.processes.run(box.me, box.machine, Command(shell="ls /run/hutch/t"))
    assert left.stdout == b""


async def test_a_whole_disk_is_watched_by_many_and_looked_at_again_and_again(box: Box) -> None:
    async with asyncio.timeout(LIMIT), contextlib.AsyncExitStack() as everything:
        watches = [box.control.watches.watch(box.me, box.machine, "/") for _ in range(20)]
        for watch in watches:
            await everything.enter_async_context(contextlib.aclosing(watch))
            assert await anext(watch) is None
        line = "mkdir -p /tmp/deep/down; echo x > /usr/not-told; sleep 0.2; echo x > /tmp/deep/down/file"
        await box.control.processes.run(box.me, box.machine, Command(shell=line, user="root"))
        for watch in watches:
            seen = []
            while "/tmp/deep/down/file" not in seen:
                change = await anext(watch)
                assert change is not None
                seen.append(change.path)
            assert "/usr/not-told" not in seen
        stats = await everything.enter_async_context(
            contextlib.aclosing(box.control.vitals.stream(box.me, box.machine, 0.1))
        )
        samples = [await anext(stats) for _ in range(3)]
        assert all(it.memory_total > it.memory_used > 0 and 0 <= it.cpu_percent <= 100 for it in samples)
