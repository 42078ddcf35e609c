"""A guest that answers nonsense when something is looked for or watched: an error, and little memory."""

import asyncio
import json
from typing import Any

import pytest

from hutch.host.agent import watches
from hutch.host.agent.files import Files
from hutch.model import errors, guest
from unit.agent.test_hostile_guest import Guest, start

STAT = {"path": "/a", "kind": "file", "size": 1, "mode": 0o644, "uid": 0, "gid": 0, "mtime_ms": 0}
MATCH = {"path": "/a", "line": 1, "text": "x"}

NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"nope",
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "no list": b"{}",
    "no objects": b"[1]",
    "empty objects": b"[{}]",
    "too many": json.dumps([STAT | MATCH] * 11).encode(),
    "a negative size": json.dumps([STAT | MATCH | {"size": -1, "line": -1}]).encode(),
    "a number as a path": json.dumps([STAT | MATCH | {"path": 1}]).encode(),
    "a kind nobody knows": json.dumps([STAT | {"kind": "whale"}]).encode(),
}


@pytest.fixture
async def hostile() -> Guest:
    it = Guest()
    await it.greet()
    return it


@pytest.mark.parametrize("op", ["find", "search"])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_an_error(hostile: Guest, op: str, body: bytes) -> None:
    asking = await start(getattr(Files(hostile.conversation), op)("/a", "x", 10))
    hostile.answer({"more": False}, body)
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await asking


async def test_a_line_is_cut_whatever_the_guest_says(hostile: Guest) -> None:
    asking = await start(Files(hostile.conversation).search("/a", "x", 10))
    hostile.answer({"more": False}, json.dumps([MATCH | {"text": "y" * 50_000}]).encode())
    (match,) = await asking
    assert len(match.text) == 4096


@pytest.mark.parametrize(
    ("told", "body"),
    [
        ({}, b"[]"),
        ({"lost": 1}, b"[]"),
        ({"lost": False}, b"[[]]"),
        ({"lost": False}, json.dumps([{"kind": "eaten", "path": "/a", "directory": False}]).encode()),
        ({"lost": False}, b"[" + b"{}," * 5000 + b"{}]"),
    ],
)
async def test_a_watch_that_tells_nonsense_ends(
    hostile: Guest, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], body: bytes
) -> None:
    monkeypatch.setattr(watches, "PAUSE", 0.0)
    reading = await start(anext(watches.watch(hostile.conversation, 1, "/a", False)))
    hostile.answer({})
    await start(asyncio.sleep(0))
    hostile.answer(told, body)
    with pytest.raises(errors.AgentUnavailable, match="nonsense"):
        await reading


async def test_what_was_lost_is_told_after_what_was_not(hostile: Guest) -> None:
    changes = watches.watch(hostile.conversation, 1, "/a", False)
    reading = await start(anext(changes))
    hostile.answer({})
    await start(asyncio.sleep(0))
    hostile.answer({"lost": True}, json.dumps([{"kind": "created", "path": "/a/b", "directory": True}]).encode())
    assert await reading == guest.Change(guest.ChangeKind.CREATED, "/a/b", True)
    with pytest.raises(errors.GuestError, match="/a: more happened"):
        await anext(changes)
