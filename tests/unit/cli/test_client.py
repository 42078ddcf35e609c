"""The SDK's pure parts, and that its two clients are one."""

import ast
from datetime import UTC, datetime

import httpx
import pytest

from hutch.api.smol import parse, present, requests
from hutch.client import errors, models, unasync, wire
from hutch.control import machines
from hutch.model import guest
from hutch.model.ids import MachineId, TenantId
from hutch.model.machine import (
    ImageRef,
    Machine,
    MachineSpec,
    NetworkMode,
    Persistence,
    Resources,
    TimerAction,
    Timers,
)
from hutch.model.states import State


def test_the_sync_client_is_what_is_made_of_the_async_one() -> None:
    for name, text in unasync.made().items():
        written = (unasync.HERE / "_sync" / name).read_text()
        assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(text)), f"{name}: run src/hutch/client/unasync.py"


@pytest.mark.parametrize("name", [".", "..", "../ports", "a/..", "%2e%2e"])
def test_no_name_leads_to_another_path(name: str) -> None:
    for path in (
        wire.part_path("web", "sessions", name),
        wire.file_path("web", f"/{name}"),
        wire.machine_path(name, "start"),
        wire.segment(name),
    ):
        sent = httpx.Client(base_url="http://hutch").build_request("DELETE", f"/{path.lstrip('/')}").url.raw_path
        assert sent.decode() == f"/{path.lstrip('/')}", "nothing of it was resolved on the way"


def test_a_new_machine_of_the_sdk_is_a_request_of_the_api() -> None:
    wanted = models.NewMachine("debian", name="web", cpus=2, network="blocked", env={"A": "b"}, ttl_seconds=9)
    read = parse.machine_request(requests.CreateMachine.model_validate_json(wire.to_json(wire.new_machine(wanted))))
    assert (read.image, read.name, read.cpus, read.env, read.timers.lifetime) == ("debian", "web", 2, {"A": "b"}, 9)


def test_what_is_to_become_of_a_new_machine_reaches_the_api() -> None:
    wanted = models.NewMachine(
        snapshot="before",
        auto_stop_seconds=5,
        idle_action="suspend",
        ttl_seconds=60,
        lifetime_action="stop",
        delete_after_suspended_seconds=9,
        persistence="sticky",
        priority=0,
    )
    read = parse.machine_request(requests.CreateMachine.model_validate_json(wire.to_json(wire.new_machine(wanted))))
    assert (read.image, read.snapshot, read.persistence, read.priority) == ("", "before", Persistence.STICKY, 0)
    assert read.timers == Timers(5, TimerAction.SUSPEND, 60, TimerAction.STOP, 9)


def test_a_new_pool_of_the_sdk_is_a_request_of_the_api() -> None:
    wanted = models.NewPool("debian", name="p", min=0, max=4, memory_mb=128, network="blocked", warm_up=["sync"])
    read = parse.pool_request(requests.CreatePool.model_validate_json(wire.to_json(wire.new_pool(wanted))))
    assert (read.machine.image, read.name, read.min, read.max, read.warm_up) == ("debian", "p", 0, 4, ("sync",))
    assert (read.machine.memory_mib, read.machine.network.mode) == (128, NetworkMode.BLOCKED)
    plain = wire.new_pool(models.NewPool("debian"))
    assert plain == {"image": "debian"}


def test_a_change_of_a_pool_of_the_sdk_is_a_request_of_the_api() -> None:
    wanted = models.PoolChange("hot", 0, 2, ["true"], "draining", "require", {"a": "b"}, {"n": 1})
    read = parse.pool_change(requests.UpdatePool.model_validate_json(wire.to_json(wire.pool_change(wanted))))
    assert (read.name, read.min, read.max, read.warm_up) == ("hot", 0, 2, ["true"])
    assert (read.state, read.mode, read.labels, read.metadata) == ("draining", "require", {"a": "b"}, {"n": 1})
    assert wire.pool_change(models.PoolChange(min=0)) == {"min": 0}


def test_a_claim_of_the_sdk_says_all_that_is_asked_for_and_a_source_only_then() -> None:
    assert wire.claim(None) == {}
    assert wire.claim(models.NewMachine(name="web"), wait=0.5) == {"name": "web", "waitMs": 500}
    wanted = models.NewMachine("debian", cpus=2, network="blocked", mounts=[models.Mount("data", "/data")])
    assert wire.claim(wanted) == wire.new_machine(wanted)
    assert {"source", "resources", "network", "mounts"} == wire.claim(wanted).keys()


def test_a_machine_is_read_with_all_that_is_told_of_it() -> None:
    when = datetime(2026, 11, 22, tzinfo=UTC)
    spec = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 512, 20), "web")
    machine = Machine(MachineId("m"), TenantId("t"), "web", spec, State.SUSPENDED, when, when, parent=MachineId("p"))
    read = wire.machine(present.machine(machine, remaining=machines.Remaining(suspended=3.0)))
    assert (read.state, read.state_detail, read.parent, read.snapshot) == ("paused", "suspended", "mach-p", None)
    assert read.remaining == models.Remaining(None, None, 3.0)
    assert (read.idle_action, read.lifetime_action, read.persistence) == ("stop", "destroy", "persistent")


def test_a_command_of_the_sdk_is_a_request_of_the_api_with_exact_stdin() -> None:
    wanted = models.Command(["cat"], stdin=b"\x00\xff", timeout=3)
    read = parse.command(requests.Exec.model_validate_json(wire.to_json(wire.command(wanted))))
    assert (read.argv, read.stdin, read.timeout) == (("cat",), b"\x00\xff", 3)


def test_an_empty_stdin_is_still_a_stdin() -> None:
    assert wire.command(models.Command("cat", stdin=b""))["stdinB64"] == ""


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/workspace/a b", "/v1/machines/m/files/workspace/a%20b"),
        ("/100%/#?", "/v1/machines/m/files/100%25/%23%3F"),
        ("/é\n", "/v1/machines/m/files/%C3%A9%0A"),
    ],
)
def test_every_part_of_a_files_path_is_encoded_by_itself(path: str, url: str) -> None:
    assert wire.file_path("m", path) == url


def test_a_page_of_output_is_read_with_its_offsets() -> None:
    shown = present.process_output(guest.Output(b"ab", 3, b"c", 0, guest.Exit(code=1)))
    assert wire.page(shown) == models.Page(b"ab", b"c", (5, 1), models.Exited(1))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Invalid),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (504, errors.TimedOut),
        (500, errors.ApiError),
    ],
)
def test_an_error_keeps_the_servers_text_and_request_id(status: int, kind: type[errors.ApiError]) -> None:
    error = errors.of(status, "machine not found\n", "r-1")
    assert type(error) is kind
    assert (str(error), error.request_id) == ("machine not found", "r-1")


def test_an_error_without_a_text_gets_one() -> None:
    assert str(errors.of(401, "", None)) == "missing or unknown API key"
    assert str(errors.of(401, '{"code":"unknown_key","error":"unknown API key"}', None)) == "unknown API key"


def test_times_are_utc() -> None:
    assert wire.time("2026-11-22T06:05:04.321Z") == datetime(2026, 11, 22, 6, 5, 4, 321000, UTC)
