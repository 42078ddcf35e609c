"""Terminals: opened, left, found again, ended."""

import asyncio
import contextlib
import dataclasses

import pytest

from hutch.control import ending
from hutch.control.commands import Command
from hutch.control.terminals import Terminal
from hutch.model import errors
from hutch.model.guest import Exit, Output, ProcessInfo, TerminalSize
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon

ECHO = Command(argv=("sh", "-c", 'stty -echo; echo ready; while read line; do echo "<$line>"; done'))


async def read_until(rig: Rig, terminal: Terminal, words: bytes, offset: int = 0) -> bytes:
    """Its output from there, as far as these words."""
    data = b""
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.terminals.read(rig.me, terminal, offset)) as pages:
        async for page in pages:
            assert isinstance(page, bytes), (page, data)
            data += page
            if words in data:
                return data
    raise AssertionError(data)


async def read_to_end(rig: Rig, terminal: Terminal) -> tuple[bytes, Exit]:
    data = b""
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.terminals.read(rig.me, terminal)) as pages:
        async for page in pages:
            if isinstance(page, Exit):
                return data, page
            data += page
    raise AssertionError(data)


async def open_echo(rig: Rig, machine: MachineId) -> Terminal:
    terminal = await rig.plane.terminals.open(rig.me, machine, ECHO)
    await read_until(rig, terminal, b"ready")
    return terminal


async def test_a_terminal_is_a_login_shell_on_a_screen_of_80_by_24(rig: Rig) -> None:
    machine = await rig.create()
    terminal = await rig.plane.terminals.open(rig.me, machine)
    assert (terminal.size, rig.state(machine)) == (TerminalSize(80, 24), State.RUNNING)
    await rig.plane.terminals.write(rig.me, terminal, b"stty size; exit 3\n")
    data, end = await read_to_end(rig, terminal)
    assert b"24 80" in data
    assert end.code == 3


async def test_a_terminal_of_another_size_runs_what_it_is_told_to(rig: Rig) -> None:
    command = Command(shell="stty size", terminal=TerminalSize(132, 50))
    terminal = await rig.plane.terminals.open(rig.me, await rig.launch(), command)
    assert (await read_to_end(rig, terminal)) == (b"50 132\r\n", Exit(code=0))


async def test_who_leaves_a_terminal_finds_it_again_by_id_and_by_pid(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    for name in (terminal.process, str(terminal.pid)):
        assert await rig.plane.terminals.find(rig.me, machine, name) == terminal
    await rig.plane.terminals.write(rig.me, terminal, b"still here\n")
    assert await read_until(rig, terminal, b"<still here>")


async def test_output_is_read_from_an_offset(rig: Rig) -> None:
    terminal = await open_echo(rig, await rig.launch())
    await rig.plane.terminals.write(rig.me, terminal, b"one\n")
    data = await read_until(rig, terminal, b"<one>\r\n")
    assert await read_until(rig, terminal, b"<one>", data.index(b"<one>")) == b"<one>\r\n"


async def test_a_terminal_outlives_the_service(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    await rig.crash_and_restart()
    found = await rig.plane.terminals.find(rig.me, machine, terminal.process)
    assert (found.process, found.pid) == (terminal.process, terminal.pid)
    await rig.plane.terminals.write(rig.me, found, b"again\n")
    assert await read_until(rig, found, b"<again>")


async def test_two_read_the_same_terminal(rig: Rig) -> None:
    terminal = await open_echo(rig, await rig.launch())
    both = [soon(read_until(rig, terminal, b"<both>")) for _ in range(2)]
    await rig.plane.terminals.write(rig.me, terminal, b"both\n")
    assert len(set(await asyncio.gather(*both))) == 1


async def test_a_new_size_is_told_to_its_program(rig: Rig) -> None:
    machine = await rig.launch()
    command = Command(argv=("sh", "-c", "read line; stty size"))
    terminal = await rig.plane.terminals.open(rig.me, machine, command)
    await rig.plane.terminals.resize(rig.me, terminal, TerminalSize(100, 40))
    assert (await rig.plane.terminals.find(rig.me, machine, terminal.process)).size == TerminalSize(100, 40)
    await rig.plane.terminals.write(rig.me, terminal, b"\n")
    assert b"40 100" in (await read_to_end(rig, terminal))[0]


async def test_a_terminal_is_hung_up(rig: Rig) -> None:
    terminal = await open_echo(rig, await rig.launch())
    reading = soon(read_to_end(rig, terminal))
    await rig.plane.terminals.end(rig.me, terminal)
    assert (await reading)[1] == Exit(signal=1)


async def test_one_that_will_not_hang_up_is_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GRACE", 0.1)
    command = Command(argv=("sh", "-c", "trap '' HUP; echo ready; while :; do sleep 0.01; done"))
    terminal = await rig.plane.terminals.open(rig.me, await rig.launch(), command)
    await read_until(rig, terminal, b"ready")
    await rig.plane.terminals.end(rig.me, terminal)
    assert (await read_to_end(rig, terminal))[1] == Exit(signal=9)


async def test_who_reads_waits_while_the_machine_is_suspended(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    reading = soon(read_until(rig, terminal, b"<back>"))
    await rig.plane.machines.suspend(rig.me, machine)
    await asyncio.sleep(0.05)
    assert (reading.done(), rig.state(machine)) == (False, State.SUSPENDED)
    await rig.plane.terminals.write(rig.me, terminal, b"back\n")  # this wakes it
    await reading


async def test_reading_is_use_and_its_end_too(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    entry = rig.plane.core.fleet.records.get(machine)
    assert entry is not None
    reading = soon(read_until(rig, terminal, b"never"))
    await asyncio.sleep(0.01)
    assert entry.busy == 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert entry.busy == 0


async def test_an_ordinary_process_is_no_terminal(rig: Rig) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    for name in (process.id, str(process.pid), "nothing"):
        with pytest.raises(errors.NotFound, match="no such terminal"):
            await rig.plane.terminals.find(rig.me, machine, name)


async def test_a_stopped_machine_has_no_terminals(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    await rig.plane.machines.stop(rig.me, machine)
    with pytest.raises(errors.NotRunning):
        await rig.plane.terminals.find(rig.me, machine, terminal.process)


async def test_every_call_needs_its_scope_and_tenant(rig: Rig) -> None:
    terminals = rig.plane.terminals
    terminal = await open_echo(rig, await rig.launch())
    poor, stranger = await rig.someone("machine:read"), await rig.someone(tenant="other")
    for who, kind in ((poor, errors.Forbidden), (stranger, errors.NotFound)):
        for call in (
            lambda who: terminals.open(who, terminal.machine),
            lambda who: terminals.find(who, terminal.machine, terminal.process),
            lambda who: anext(terminals.read(who, terminal)),
            lambda who: terminals.write(who, terminal, b"x"),
            lambda who: terminals.resize(who, terminal, TerminalSize(1, 1)),
            lambda who: terminals.end(who, terminal),
        ):
            with pytest.raises(kind):
                await call(who)


async def test_a_size_that_is_none_is_refused(rig: Rig) -> None:
    command = Command(terminal=TerminalSize(0, 24))
    with pytest.raises(errors.InvalidRequest, match="columns and rows"):
        await rig.plane.terminals.open(rig.me, await rig.create(), command)


async def test_a_name_of_digits_is_no_pid(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()
    named = await rig.plane.terminals.open(rig.me, machine, ECHO, "777")
    other = await open_echo(rig, machine)
    real = rig.plane.terminals._host.list

    async def list_all(machine: MachineId) -> list[ProcessInfo]:
        return [dataclasses.replace(it, pid=777) if it.id == other.process else it for it in await real(machine)]

    monkeypatch.setattr(rig.plane.terminals._host, "list", list_all)
    assert (await rig.plane.terminals.find(rig.me, machine, "777")).process == named.process


async def test_a_copys_terminal_is_another_one_than_its_sources(rig: Rig) -> None:
    machine = await rig.launch()
    terminal = await open_echo(rig, machine)
    copy = dataclasses.replace(terminal, machine=await rig.launch())
    async with contextlib.aclosing(rig.plane.terminals.read(rig.me, terminal)) as pages:
        await anext(pages)
        assert (rig.plane.terminals.readers(terminal), rig.plane.terminals.readers(copy)) == (1, 0)


@pytest.mark.parametrize("lies", ["there is more", "it was elsewhere"])
async def test_a_guest_that_shows_without_end_is_not_listened_to_without_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lies: str
) -> None:
    terminal = await open_echo(rig, await rig.launch())
    host = rig.plane.terminals._host
    told, real = [], host.list

    async def list_all(machine: MachineId) -> list[ProcessInfo]:
        return [dataclasses.replace(it, stdout_bytes=2**60) for it in await real(machine)]

    async def read(machine: MachineId, process: str, at: int, *_: object) -> Output:
        told.append(at)
        assert len(told) < 1000, "it goes on and on"
        return Output(b"x" * 2**18, at + (lies != "there is more"), b"", 0)

    monkeypatch.setattr(host, "list", list_all)
    monkeypatch.setattr(host, "read", read)
    assert len(await rig.plane.terminals.screen(rig.me, terminal)) <= 2**21
