"""Streams of lines: changes of files, and how a VM fares."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hutch.api.freestyle import guest_responses

from .conftest import Vm, refused
from .test_exec import run


@contextmanager
def opened(vm: Vm, method: str, what: str, **query: object) -> Iterator[Iterator[dict[str, Any]]]:
    with vm.http.stream(method, f"{vm.path}/{what}", params=query) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "application/x-ndjson"
        yield (json.loads(line) for line in answer.iter_lines() if line)


def test_changes_anywhere_in_the_vm_are_told(vm: Vm) -> None:
    run(vm, "mkdir -p tmp usr/lib")
    with opened(vm, "POST", "watch-files") as changes:
        run(vm, "echo x > usr/lib/not-told; echo x > tmp/a; mv tmp/a tmp/b; rm tmp/b; echo y > tmp/last")
        seen = []
        for change in changes:
            guest_responses.FileChange.model_validate_json(json.dumps(change))
            seen.append((change["eventType"], change["filename"]))
            if change["filename"] == "/tmp/last":
                break
    assert "/usr/lib/not-told" not in {name for _, name in seen}


def test_one_directory_is_watched_if_it_is_named(vm: Vm) -> None:
    run(vm, "mkdir -p one two")
    with opened(vm, "POST", "watch-files", path="/one") as changes:
        run(vm, "echo x > two/a; echo x > one/b")
        assert next(changes) == {"eventType": "create", "filename": "/one/b"}
    refused(vm.post("watch-files", params={"path": "/none"}), "NOT_FOUND")
    refused(vm.post("watch-files", params={"path": "none"}), "VALIDATION_ERROR")


def test_many_watch_at_once_and_their_streams_end_with_the_vm(vm: Vm) -> None:
    with opened(vm, "POST", "watch-files") as first, opened(vm, "POST", "watch-files") as second:
        run(vm, "mkdir seen")
        for changes in (first, second):
            assert next(changes)["filename"] == "/seen"
        assert vm.post("stop").status_code == 200
        for changes in (first, second):
            assert list(changes) is not None
    refused(vm.post("watch-files"), "VM_NOT_RUNNING")


def test_how_a_vm_fares_is_told_again_and_again(vm: Vm) -> None:
    with opened(vm, "GET", "stats/stream", interval_ms=1) as lines:
        for _ in range(3):
            it = guest_responses.Stats.model_validate_json(json.dumps(next(lines)))
            assert 0 <= it.cpu_percent <= 100
            assert it.memory_used_bytes + it.memory_available_bytes == it.memory_total_bytes > 0
        assert vm.post("stop").status_code == 200
        assert list(lines) is not None
    refused(vm.http.get(f"{vm.path}/stats/stream"), "VM_NOT_RUNNING")


@pytest.mark.parametrize("interval", ["-1", "x", "1.5"])
def test_an_interval_that_is_none_is_refused(vm: Vm, interval: str) -> None:
    refused(vm.http.get(f"{vm.path}/stats/stream", params={"interval_ms": interval}), "VALIDATION_ERROR")


def test_an_interval_is_never_too_long(vm: Vm) -> None:
    with opened(vm, "GET", "stats/stream", interval_ms="9" * 400) as lines:
        assert next(lines)["memoryTotalBytes"] > 0


def test_a_vm_that_is_not_there_tells_nothing(vm: Vm) -> None:
    refused(vm.http.get("/v1/vms/nope/stats/stream"), "VM_NOT_FOUND")
    refused(vm.http.post("/v1/vms/nope/watch-files"), "VM_NOT_FOUND")
