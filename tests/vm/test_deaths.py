"""QEMU, the guest's kernel or its agent may die at any moment: it is told at once, with the reason; nothing hangs."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from hutch.host.interface import Died, Life
from hutch.model import errors, guest
from machines import Launcher, Machine

AGENT = "cd /proc && grep -l ^@hutch-agent.serve [0-9]*/cmdline | cut -d / -f 1"
"""Finds the agent's process, and not the shell that looks for it."""


async def death_of(machine: Machine, within: float) -> Died:
    async with asyncio.timeout(within):
        async for died in machine.host.deaths():
            if died.machine == machine.id:
                return died
    raise AssertionError("no death was told")


async def start(machine: Machine, command: str) -> None:
    await machine.host.processes.start(machine.id, "it", guest.ProcessSpec(("sh", "-c", command)))


async def test_a_killed_qemu_is_told_within_a_second_and_open_reads_end(vms: Launcher) -> None:
    machine = await vms.launch()
    await start(machine, "sleep 1000")
    reading = asyncio.ensure_future(machine.finish("it"))
    await machine.run("true")
    os.kill(machine.pid, signal.SIGKILL)
    died = await death_of(machine, within=1)
    assert not died.clean
    with pytest.raises((errors.AgentUnavailable, errors.NotRunning)):
        await asyncio.wait_for(reading, 2)
    state = vms.host.get(machine.id)
    assert state is not None
    assert (state.life, state.reason) == (Life.FAILED, died.reason)


async def test_a_panicking_kernel_is_told_in_its_own_words(vms: Launcher) -> None:
    machine = await vms.launch()
    await start(machine, "echo c > /proc/sysrq-trigger")
    died = await death_of(machine, within=15)
    assert not died.clean
    assert "Kernel panic" in died.reason


async def test_a_guest_that_powers_off_is_stopped_not_failed(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept && sync")
    await start(machine, "poweroff -f")
    died = await death_of(machine, within=15)
    assert died.clean
    assert vms.host.get(machine.id).life is Life.STOPPED  # type: ignore[union-attr]
    await vms.host.start(machine.id)
    assert (await machine.run("cat /kept")).text == "kept"


async def test_a_failed_machine_starts_again_from_its_disk(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept && sync")
    os.kill(machine.pid, signal.SIGKILL)
    await death_of(machine, within=1)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /kept")).text == "kept"


async def test_a_killed_agent_comes_back(vms: Launcher) -> None:
    machine = await vms.launch()
    before = (await machine.run(AGENT)).text
    await start(machine, f"kill -9 $({AGENT})")
    assert await asyncio.wait_for(_another_agent(machine, before), 15)


async def _another_agent(machine: Machine, before: str) -> str:
    """The process id of an agent that is not the one before."""
    while True:
        with contextlib.suppress(errors.AgentUnavailable, errors.GuestError, errors.Conflict):
            if (now := (await machine.run(AGENT)).text) not in ("", before):
                return now
        await asyncio.sleep(0.05)


async def test_a_guest_that_answers_rubbish_is_given_up(vms: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hutch.host.machines.held.AGENT_WAIT", 2.0)
    machine = await vms.launch()
    # Once this has the port it keeps it: an agent started anew finds it taken and never answers again.
    talk = "exec 3> /dev/vport1p1 || exit; while :; do cat /dev/urandom >&3; sleep 0.01; done"
    rubbish = f'while :; do kill -9 $({AGENT}); sh -c "{talk}"; done 2> /dev/null'
    await start(machine, f"setsid sh -c '{rubbish}' &")
    died = await death_of(machine, within=30)
    assert "agent" in died.reason


async def test_a_guest_that_never_stops_writing_to_its_console_fills_nothing(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    await machine.run("while :; do seq 1 2000 > /dev/console; done", check=False, timeout=3.0)
    assert (await machine.run("echo up")).text == "up"
    assert len((await vms.host.console(machine.id)).text) <= 64 * 1024
    (log,) = (home / "runs").glob("*/console.log")
    assert log.stat().st_size <= 128 * 1024


async def test_qemu_killed_in_the_middle_of_a_start_fails_the_start(vms: Launcher) -> None:
    machine = await vms.create()
    starting = asyncio.ensure_future(vms.host.start(machine.id))
    while vms.host.get(machine.id).pid is None:  # type: ignore[union-attr]
        await asyncio.sleep(0)
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(errors.MachineFailed):
        await asyncio.wait_for(starting, 5)
    await vms.host.start(machine.id)
    assert (await machine.run("echo up")).text == "up"
