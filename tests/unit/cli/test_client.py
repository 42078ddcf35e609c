"""The SDK's pure parts, and that its two clients are one."""

import ast
from datetime import UTC, datetime

import pytest

from hutch.api.smol import parse, requests
from hutch.client import errors, models, unasync, wire
from hutch.model import guest


def test_the_sync_client_is_what_is_made_of_the_async_one() -> None:
    for name, text in unasync.made().items():
        written = (unasync.HERE / "_sync" / name).read_text()
        assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(text)), f"{name}: run src/hutch/client/unasync.py"


def test_a_new_machine_of_the_sdk_is_a_request_of_the_api() -> None:
    wanted = models.NewMachine("debian", name="web", cpus=2, network="blocked", env={"A": "b"}, ttl_seconds=9)
    read = parse.machine_request(requests.CreateMachine.model_validate_json(wire.to_json(wire.new_machine(wanted))))
    assert (read.image, read.name, read.cpus, read.env, read.timers.lifetime) == ("debian", "web", 2, {"A": "b"}, 9)


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
    from hutch.api.smol import present

    shown = present.process_output(guest.Output(b"ab", 3, b"c", 0, guest.Exit(code=1)))
    assert wire.page(shown) == models.Page(b"ab", b"c", (5, 1), models.Exited(1))


@pytest.mark.parametrize(
    ("status", "kind"), [(400, errors.Invalid), (404, errors.NotFound), (409, errors.Conflict), (500, errors.ApiError)]
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
