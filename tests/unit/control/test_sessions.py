"""Sessions: what one command leaves behind for the next, and what it does not."""

import asyncio
import contextlib
import dataclasses
import shutil
from typing import Any

import pytest

from hutch.control import ending, session_shell, sessions
from hutch.control.commands import Command, Completed, Started
from hutch.model import errors
from hutch.model.guest import Exit
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


class Shell:
    """One session of one machine."""

    def __init__(self, rig: Rig, machine: MachineId, id: str) -> None:
        self.rig = rig
        self.machine = machine
        self.id = id

    async def run(self, line: str, **options: Any) -> Completed:
        command = Command(shell=line, **options)
        return await self.rig.plane.sessions.run(self.rig.me, self.machine, self.id, command)

    async def out(self, line: str, **options: Any) -> str:
        """What it writes; it ends well."""
        done = await self.run(line, **options)
        assert (done.exit, done.stderr) == (Exit(code=0), b""), done
        return done.stdout.decode().strip()

    @property
    def session(self) -> sessions.Session:
        return self.rig.plane.sessions.get(self.rig.me, self.machine, self.id)


async def make(rig: Rig, machine: MachineId | None = None, **fields: Any) -> Shell:
    machine = machine or await rig.launch()
    session = await rig.plane.sessions.create(rig.me, machine, **fields)
    return Shell(rig, machine, session.id)


@pytest.fixture
async def shell(rig: Rig) -> Shell:
    return await make(rig)


async def test_cd_and_export_last(shell: Shell) -> None:
    await shell.run("cd tmp; mkdir -p a/b; cd a/b; export NAME='two words' OTHER=1")
    assert await shell.out("echo $NAME $OTHER") == "two words 1"
    assert (await shell.out("pwd")).endswith("/a/b")
    assert shell.session.cwd == "/tmp/a/b"
    assert shell.session.env["NAME"] == "two words"


async def test_what_is_not_exported_does_not_last(shell: Shell) -> None:
    await shell.run("NAME=1; OTHER=2; export OTHER")
    assert await shell.out("echo [$NAME] [$OTHER]") == "[] [2]"


async def test_unset_lasts(shell: Shell) -> None:
    await shell.run("export NAME=1")
    await shell.run("unset NAME")
    assert await shell.out("echo [$NAME]") == "[]"
    assert "NAME" not in shell.session.env


@pytest.mark.parametrize(
    "value", ["", "a\nb", "it's", '"$(x)" `y` \\', "=", "é ü 漢", "a=b", " two  spaces ", "\n=\n", "-n", "x" * 10_000]
)
async def test_any_value_lasts(shell: Shell, value: str) -> None:
    await shell.run('export NAME="$GIVEN"', env={"GIVEN": value})
    assert shell.session.env["NAME"] == value
    assert (await shell.run('printf %s "$NAME"')).stdout.decode() == value


async def test_only_what_a_command_changed_is_kept(shell: Shell) -> None:
    await shell.run("export NAME=1")
    assert set(shell.session.env) <= {"NAME", "PATH", "OLDPWD"}  # the profile may set PATH
    await shell.run("true", env={"ONCE": "1"}, cwd="/root")
    assert "ONCE" not in shell.session.env
    assert shell.session.cwd is None


async def test_what_the_command_names_goes_over_the_session_for_this_once(rig: Rig) -> None:
    shell = await make(rig, cwd="/root", env={"NAME": "kept", "OTHER": "1"})
    assert await shell.out("echo $NAME $OTHER", env={"NAME": "once"}) == "once 1"
    assert (await shell.out("pwd", cwd="/tmp")).endswith("/tmp")
    assert await shell.out("echo $NAME") == "kept"
    assert (await shell.out("pwd")).endswith("/root")
    assert shell.session.cwd == "/root"


async def test_a_change_from_what_the_command_named_is_kept(shell: Shell) -> None:
    await shell.run("mkdir -p sub; cd sub; export NAME=$NAME-2", env={"NAME": "1"}, cwd="/tmp")
    assert (await shell.out("pwd")).endswith("/tmp/sub")
    assert await shell.out("echo $NAME") == "1-2"


async def test_the_way_back_is_known(shell: Shell) -> None:
    await shell.run("cd tmp")
    await shell.run("cd ../root")
    assert (await shell.out("cd - >/dev/null; pwd")).endswith("/tmp")


ENDS = {
    "exit 3": (3, b""),
    "(exit 4)": (4, b""),
    "false": (1, b""),
    "set -e; false; echo no": (1, b""),
    "set -eu; echo $NOTHING": (None, b""),
    "exit 3; echo no": (3, b""),
    "set -x; (exit 5) 2>/dev/null": (5, b""),
    "trap 'echo bye' EXIT; exit 6": (6, b"bye\n"),
    "trap 'echo bye' EXIT; (exit 7)": (7, b"bye\n"),
    "set -C; set -f; IFS=0123456789; (exit 12)": (12, b""),
    "cat() { echo mine; }; pwd() { echo mine; }; echo() { :; }; exit 8": (8, b""),
    "PATH=/nowhere; exit 9": (9, b""),
    "exec 1>&- 2>&-; exit 10": (10, b""),
    "exec sh -c 'exit 11'": (11, b""),
    "kill -9 $$": (137, b""),
    "if": (2, b""),
    "echo 'unterminated": (2, b""),
    "# only a remark": (0, b""),
    "-x": (127, b""),
    "return 13": (None, b""),
    "cat <<END\nline\nEND": (0, b"line\n"),
    "echo a\\\nb": (0, b"ab\n"),
}


@pytest.mark.parametrize("line", ENDS)
async def test_streams_and_code_are_the_commands_own(shell: Shell, line: str) -> None:
    code, stdout = ENDS[line]
    done = await shell.run(line)
    assert done.stdout == stdout
    assert code is None or done.exit.shell_code == code
    assert b"__hutch" not in done.stderr
    assert (await shell.run("echo on")).stdout == b"on\n"


TELLING = [
    "exit 3",
    "set -e; false",
    "set -x; exit 1",
    "set -C; true",
    "set -u; echo $NOTHING",
    "trap 'true' EXIT; false",
    "cat() { :; }; echo() { :; }; pwd() { :; }; command() { :; }",
    "PATH=/nowhere",
    "IFS=/tmp0123456789",
    "exec >&-",
    "exec 3>&1",
    "if",
    "sleep 0.01 &",
]


@pytest.mark.parametrize("shell_name", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("line", TELLING)
async def test_however_it_ends_it_tells_where(
    rig: Rig, line: str, shell_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a syntax error the lines before it count, as far as the shell has got to them."""
    path = shutil.which(shell_name)
    if path is None:
        pytest.skip(f"this box has no {shell_name}")
    prefix = (path, *{"busybox": ("sh",), "bash": ("--posix",)}.get(shell_name, ()))
    wrap = session_shell.wrap

    def wrapped(*arguments: Any, **options: Any) -> tuple[str, ...]:
        return prefix + wrap(*arguments, **options)[1:]

    monkeypatch.setattr(session_shell, "wrap", wrapped)
    shell = await make(rig)
    await shell.run("true")
    separator = "\n" if line == "if" else "; "
    await shell.run(f"cd tmp; mkdir -p here; cd here; export NAME=1{separator}{line}")
    if line != "if":
        assert shell.session.cwd == "/tmp/here"
        assert shell.session.env["NAME"] == "1"
    assert (await shell.run("echo on")).stdout == b"on\n"


@pytest.mark.parametrize("line", ["exec true", "kill -9 $$", "kill -TERM $$"])
async def test_what_tells_nothing_leaves_the_session_as_it_was(shell: Shell, line: str) -> None:
    await shell.run("cd tmp; export NAME=1")
    before = shell.session
    await shell.run(f"cd ../root; export NAME=2; {line}")
    assert (shell.session.cwd, shell.session.env) == (before.cwd, before.env)


async def test_a_command_reads_its_own_stdin(shell: Shell) -> None:
    assert await shell.out("cat; read line; echo [$line]", stdin=b"one\ntwo\n") == "one\ntwo\n[]"


async def test_a_command_has_no_arguments_and_few_variables_of_ours(shell: Shell) -> None:
    assert await shell.out('echo $#"$@"; env | grep -c __HUTCH || true; env | grep -c __hutch || true') == "0\n0\n0"


async def test_nothing_is_left_in_the_guest(shell: Shell) -> None:
    await shell.run("cd tmp")
    await shell.rig.settle()
    assert await shell.rig.plane.files.list(shell.rig.me, shell.machine, sessions.REPORTS) == []


async def test_a_directory_that_is_gone_is_told_and_nothing_is_run(shell: Shell) -> None:
    await shell.run("cd tmp; mkdir gone; cd gone; rmdir ../gone")
    done = await shell.run("echo no")
    assert (done.exit, done.stdout) == (Exit(code=255), b"")
    assert b"working directory is not there" in done.stderr
    await shell.run("cd ../root", cwd="/tmp")
    assert (await shell.run("echo on")).stdout == b"on\n"


async def test_a_session_begins_where_its_machine_does(rig: Rig) -> None:
    shell = await make(rig, await rig.launch(workdir="/workspace"))
    assert (await shell.out("pwd")).endswith("/workspace")


async def test_an_argv_has_what_the_session_has_and_changes_nothing(rig: Rig) -> None:
    shell = await make(rig, cwd="/tmp", env={"NAME": "1"})
    command = Command(argv=("sh", "-c", "pwd; echo $NAME; cd /; export NAME=2"))
    done = await rig.plane.sessions.run(rig.me, shell.machine, shell.id, command)
    directory, name = done.stdout.decode().split()
    assert (directory.endswith("/tmp"), name) == (True, "1")
    assert (shell.session.cwd, shell.session.env) == ("/tmp", {"NAME": "1"})


async def test_what_runs_in_the_background_is_not_waited_for(rig: Rig) -> None:
    shell = await make(rig, env={"NAME": "1"})
    done = await shell.run("echo $NAME > root/told; sleep 1000", background=True)
    assert done.exit == Exit(code=0)
    assert await shell.out("echo on") == "on"
    async with asyncio.timeout(LIMIT):
        while (await rig.run(shell.machine, "cat root/told")).stdout != b"1\n":
            await asyncio.sleep(0.01)


async def test_too_large_an_environment_is_not_kept_and_the_directory_is(shell: Shell) -> None:
    await shell.run("export NAME=1")
    line = "cd tmp; A=$(head -c 70000 /dev/zero | tr '\\0' x); export A B=$A; exit 3"
    assert (await shell.run(line)).exit == Exit(code=3)
    assert shell.session.env["NAME"] == "1"
    assert "B" not in shell.session.env
    assert (await shell.out("pwd")).endswith("/tmp")


async def test_commands_of_one_session_take_turns(shell: Shell) -> None:
    line = "mkdir turn || exit 9; sleep 0.05; rmdir turn; export N=$((N + 1))"
    done = await asyncio.gather(*(shell.run(line) for _ in range(4)))
    assert [it.exit for it in done] == [Exit(code=0)] * 4
    assert shell.session.env["N"] == "4"


async def test_two_sessions_do_not_wait_for_each_other(rig: Rig) -> None:
    machine = await rig.launch()
    first, second = await make(rig, machine), await make(rig, machine)
    waiting = soon(first.run("read line; echo $line", interactive=True))
    assert await second.out("echo on") == "on"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_who_waits_too_long_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WAIT", 0.05)
    running = soon(shell.run("sleep 1000"))
    await turn(50)
    with pytest.raises(errors.Conflict, match="is busy"):
        await shell.run("true")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await shell.out("echo on") == "on"


async def test_a_stream_is_told_as_it_comes(shell: Shell) -> None:
    its = shell.rig.plane
    stream = its.sessions.stream(
        shell.rig.me, shell.machine, shell.id, Command(shell="echo a; read x", interactive=True)
    )
    async with contextlib.aclosing(stream) as events:
        started = await anext(events)
        assert isinstance(started, Started)
        assert (await anext(events)).data == b"a\n"  # type: ignore[union-attr]
        await its.processes.write(shell.rig.me, shell.machine, started.process, b"x\n")
        assert await anext(events) == Exit(code=0)


@pytest.mark.parametrize("end", ["restart", "crash_and_restart"])
async def test_a_session_survives_the_service(shell: Shell, end: str) -> None:
    await shell.run("cd tmp; export NAME=1")
    before = shell.session
    await shell.rig.settle()
    await getattr(shell.rig, end)()
    assert shell.session == before
    assert await shell.out("echo $NAME") == "1"


@pytest.mark.parametrize("verb", ["stop", "suspend"])
async def test_a_session_survives_its_machines_rest(shell: Shell, verb: str) -> None:
    await shell.run("cd root; export NAME=1")
    await getattr(shell.rig.plane.machines, verb)(shell.rig.me, shell.machine)
    assert await shell.out("echo $NAME") == "1"
    assert shell.rig.state(shell.machine) is State.RUNNING


async def test_a_session_ends_with_its_machine(shell: Shell) -> None:
    await shell.rig.plane.machines.delete(shell.rig.me, shell.machine)
    assert shell.rig.plane.sessions._held == {}
    await shell.rig.restart()
    assert shell.rig.plane.sessions._held == {}


async def test_a_session_that_is_deleted_ends_its_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GRACE", 0.2)
    running = soon(shell.run("sleep 1000"))
    waiting = soon(shell.run("echo never"))
    async with asyncio.timeout(LIMIT):
        while shell.rig.plane.sessions._held[shell.machine][shell.id].process is None:
            await asyncio.sleep(0)
    await shell.rig.plane.sessions.delete(shell.rig.me, shell.machine, shell.id)
    assert (await asyncio.wait_for(running, LIMIT)).exit.shell_code in (137, 143)
    with pytest.raises(errors.NotFound):
        await waiting
    with pytest.raises(errors.NotFound):
        assert shell.session


async def test_sessions_are_listed_oldest_first_and_start_nothing(rig: Rig) -> None:
    machine = await rig.create()
    made = [await rig.plane.sessions.create(rig.me, machine, id=id) for id in ("b", "a", "A.b_c-9")]
    assert rig.plane.sessions.list(rig.me, machine) == made
    assert rig.state(machine) is State.STOPPED
    assert made[0].last_exec_at is None


async def test_the_last_use_is_told(shell: Shell) -> None:
    shell.rig.clock.advance(60)
    await shell.run("true")
    assert shell.session.last_exec_at == shell.rig.clock.now()


async def test_an_id_is_taken_once_in_each_machine(rig: Rig) -> None:
    machine, other = await rig.create(), await rig.create()
    for it in (machine, other):
        await rig.plane.sessions.create(rig.me, it, id="mine")
    with pytest.raises(errors.Conflict, match="already a session mine"):
        await rig.plane.sessions.create(rig.me, machine, id="mine")


@pytest.mark.parametrize(
    "fields",
    [{"id": ""}, {"id": "a/b"}, {"id": "../x"}, {"id": "-a"}, {"id": "x" * 65}, {"cwd": "here"}, {"env": {"A=": "1"}}],
)
async def test_a_session_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.sessions.create(rig.me, await rig.create(), **fields)


async def test_a_machine_has_only_so_many(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 1)
    machine = await rig.create()
    await rig.plane.sessions.create(rig.me, machine)
    with pytest.raises(errors.Conflict, match="1 sessions already"):
        await rig.plane.sessions.create(rig.me, machine)


async def test_a_command_that_makes_no_sense_is_refused_before_it_begins(shell: Shell) -> None:
    for command in (Command(), Command(shell="true", cwd="here"), Command(shell="true", timeout=-1)):
        with pytest.raises(errors.InvalidRequest):
            await shell.rig.plane.sessions.run(shell.rig.me, shell.machine, shell.id, command)


async def test_every_call_needs_its_scope_and_tenant(shell: Shell) -> None:
    its, machine, rig = shell.rig.plane.sessions, shell.machine, shell.rig
    poor, stranger = await rig.someone("usage:read"), await rig.someone(tenant="other")

    async def look(who: Any) -> None:
        its.get(who, machine, shell.id)

    async def look_at_all(who: Any) -> None:
        its.list(who, machine)

    for who, kind in ((poor, errors.Forbidden), (stranger, errors.NotFound)):
        for call in (
            look,
            look_at_all,
            lambda who: its.create(who, machine),
            lambda who: its.run(who, machine, shell.id, Command(shell="true")),
            lambda who: its.delete(who, machine, shell.id),
        ):
            with pytest.raises(kind):
                await call(who)


def test_half_a_report_is_none() -> None:
    whole = b"A=1\0=\n__HUTCH_ROOT=\0__HUTCH_FROM=/\0__HUTCH_TO=/tmp\0A=2\0B=\0"
    report = session_shell.parse(whole)
    assert report is not None
    assert dataclasses.astuple(report) == ("/", "/tmp", {"A": "2", "B": ""}, frozenset())
    for half in (b"", whole[:-1], b"A=1\0", b"A=1\0=\nA=1\0", b"=\n" + whole):
        assert session_shell.parse(half) is None or half.startswith(b"=")


def test_names_that_no_shell_takes_are_left_out() -> None:
    data = b"\0=\n__HUTCH_ROOT=\0__HUTCH_FROM=/\0__HUTCH_TO=/\0BASH_FUNC_x%%=() { :\0SHLVL=2\0PWD=/\0\xff=1\0N=\xff\0"
    report = session_shell.parse(data)
    assert report is not None
    assert report.changed == {}
