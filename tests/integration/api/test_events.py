"""What happens to machines, live."""

import json
from collections.abc import Iterator

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, create
from .test_exec_stream import events


def happened(answer: httpx.Response) -> Iterator[responses.Event]:
    for name, data in events(answer):
        event = responses.Event.model_validate_json(data)
        assert event.kind == name
        yield event


def test_events_have_a_kind_and_their_machine(running: Machine) -> None:
    shown = [responses.Event.model_validate(it) for it in running.http.get(f"{running.path}/events").json()]
    assert [it.kind for it in shown] == ["machine.creating", "machine.created", "machine.starting", "machine.started"]
    assert {it.machine_id for it in shown} == {running.id}


def test_following_tells_what_was_and_what_happens_until_it_is_gone(machine: Machine) -> None:
    with machine.http.stream("GET", f"{machine.path}/events?follow=true") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = happened(answer)
        assert [next(told).kind for _ in range(2)] == ["machine.creating", "machine.created"]
        machine.post("start")
        assert [next(told).kind for _ in range(2)] == ["machine.starting", "machine.started"]
        machine.http.delete(machine.path)
        rest = list(told)
    assert rest[-1].kind == "machine.destroyed"
    assert len({it.id for it in rest}) == len(rest)


def test_all_machines_are_followed_at_once(http: httpx.Client, machine: Machine) -> None:
    with http.stream("GET", "/v1/events?kind=machine.started&kind=machine.destroyed") as answer:
        told = happened(answer)
        machine.post("start")
        other = create(http).json()["id"]
        http.delete(f"/v1/machines/{other}")
        seen: list[tuple[str | None, str]] = []
        while (other, "machine.destroyed") not in seen:
            event = next(told)
            seen.append((event.machine_id, event.kind))
    assert (machine.id, "machine.started") in seen
    assert {kind for _, kind in seen} <= {"machine.started", "machine.destroyed"}


@pytest.mark.parametrize("path", ["/v1/events?kind=nonsense", "/v1/events?kind=machine"])
def test_an_unknown_kind_is_400_before_anything_is_told(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, "kind" in answer.text) == (400, True)


def test_what_is_not_there_cannot_be_followed(http: httpx.Client) -> None:
    answer = http.get("/v1/machines/mach-aaaaaaaaaaaaaaaaaaaa/events?follow=true")
    assert (answer.status_code, answer.text) == (404, "machine not found")
    assert json.loads(http.get("/v1/machines").text) is not None
