"""Machines watched over HTTP: their files, and how they fare."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hutch.api.smol import watching
from hutch.client.wire import ServerEvents

from .conftest import Machine


def told(answer: httpx.Response) -> Iterator[tuple[str, str]]:
    events = ServerEvents()
    for line in answer.iter_lines():
        if event := events.feed(line):
            yield event


def test_what_happens_to_files_is_told_until_the_machine_stops(running: Machine) -> None:
    running.http.put(f"{running.path}/files/workspace/a", content=b"a")
    query = {"path": "/workspace"}
    with running.http.stream("GET", f"{running.path}/watch", params=query, timeout=30) as answer:
        events = told(answer)
        running.http.put(f"{running.path}/files/workspace/b", content=b"b")
        changes: list[dict[str, Any]] = []
        while not any(it["path"].endswith("/b") for it in changes):
            name, data = next(events)
            assert name == "change"
            watching.FileChange.model_validate_json(data)
            changes.append(json.loads(data))
        running.post("stop")
        rest = list(events)
    assert rest[-1][0] == "error"


def test_how_it_fares_is_told_once_or_until_it_stops(running: Machine) -> None:
    answer = running.http.get(f"{running.path}/stats")
    assert answer.status_code == 200, answer.text
    now = watching.Stats.model_validate_json(answer.content)
    assert 0 <= now.cpu_percent <= 100
    assert now.memory_used_bytes <= now.memory_total_bytes
    query = {"follow": True, "interval": 0.1}
    with running.http.stream("GET", f"{running.path}/stats", params=query, timeout=30) as answer:
        events = told(answer)
        for _ in range(2):
            name, data = next(events)
            assert name == "stats"
            watching.Stats.model_validate_json(data)
        running.post("stop")
        assert all(name == "stats" for name, _ in events)


@pytest.mark.parametrize("query", [{"interval": 0}, {"interval": 11}, {"follow": "x"}])
def test_what_cannot_be_asked_for_is_refused(running: Machine, query: dict[str, object]) -> None:
    assert running.http.get(f"{running.path}/stats", params=query).status_code == 400  # type: ignore[arg-type]


def test_what_cannot_be_watched_is_told_at_once(machine: Machine) -> None:
    assert machine.http.get(f"{machine.path}/stats").status_code == 409
    assert machine.http.get(f"{machine.path}/watch", params={"path": "/nowhere"}).status_code == 404
    assert machine.http.get(f"{machine.path}/watch", params={"path": ""}).status_code == 400
