"""What machines write: the console's lines and the journal's."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hutch.control import logbook
from hutch.control.logbook import Line
from hutch.model import errors
from hutch.model.machine import Level
from hutch.model.states import State
from unit.control.rig import Rig

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def entry(**fields: Any) -> bytes:
    usual = {"__REALTIME_TIMESTAMP": "1700000000500000", "PRIORITY": "6", "MESSAGE": "up", "SYSLOG_IDENTIFIER": "sshd"}
    return json.dumps({**usual, **fields}).encode()


def test_a_console_is_lines_with_the_time_of_the_start() -> None:
    lines = list(logbook.of_console(b"one\r\n\r\n\xfftwo\n" + b"x" * 9999, SINCE))
    assert [it.text[:5] for it in lines] == ["one", "�two", "xxxxx"]
    assert {it.at for it in lines} == {SINCE.timestamp()}
    assert len(lines[-1].text) == logbook.LONGEST


def test_a_journal_is_lines_with_their_time_and_level() -> None:
    told = [entry(), entry(PRIORITY="3"), entry(PRIORITY="4", MESSAGE=[104, 105, 255]), entry(_TRANSPORT="kernel")]
    assert list(logbook.of_journal(b"\n".join(told))) == [
        Line(1700000000.5, Level.INFO, "sshd: up"),
        Line(1700000000.5, Level.ERROR, "sshd: up"),
        Line(1700000000.5, Level.WARNING, "sshd: hi�"),
    ]


@pytest.mark.parametrize(
    "told",
    [
        *(b"", b"\xff", b"{", b"[]", b"null", b"1", b'{"MESSAGE":1}', b"[" * 100_000),
        *(entry(MESSAGE=None), entry(MESSAGE=[300]), entry(MESSAGE=["x"]), entry(MESSAGE={})),
        *(entry(PRIORITY="x"), entry(PRIORITY=[]), entry(__REALTIME_TIMESTAMP="x"), entry(__REALTIME_TIMESTAMP=None)),
        entry(__REALTIME_TIMESTAMP="9" * 400),
    ],
)
def test_a_guest_may_tell_any_nonsense(told: bytes) -> None:
    assert list(logbook.of_journal(told + b"\n" + entry())) == [Line(1700000000.5, Level.INFO, "sshd: up")]


async def test_the_last_lines_are_told_and_nothing_is_woken(rig: Rig) -> None:
    machine = await rig.launch(command=("sh", "-c", "echo one; echo two; echo three"))
    await rig.plane.processes.run(rig.me, machine, rig.line("true"))
    await rig.plane.machines.suspend(rig.me, machine)
    read = rig.plane.logbook.read
    every = [it.text for it in await read(rig.me, machine, 100)]
    assert "simulated machine" in every
    assert [it.text for it in await read(rig.me, machine, 1)] == every[-1:]
    assert await read(rig.me, machine, 0) == []
    assert rig.state(machine) is State.SUSPENDED


async def test_reading_is_no_activity_and_leaves_no_process(rig: Rig) -> None:
    machine = await rig.launch()
    before = rig.get(machine).last_activity_at
    rig.clock.advance(10)
    assert await rig.plane.logbook.read(rig.me, machine, 50)
    assert rig.get(machine).last_activity_at == before
    assert await rig.plane.processes.list(rig.me, machine) == []


async def test_only_ones_own_are_read(rig: Rig) -> None:
    machine = await rig.launch()
    for who, error in (
        (await rig.someone(tenant="other"), errors.NotFound),
        (await rig.someone("usage:read"), errors.Forbidden),
    ):
        with pytest.raises(error):
            await rig.plane.logbook.read(who, machine, 50)
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.logbook.read(rig.me, machine, -1)
