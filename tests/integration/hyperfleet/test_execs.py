"""Commands and files in machines, over plain HTTP."""

import base64

import httpx
import pytest

from hutch.api.hyperfleet import responses

from .conftest import Machine, refused, told


def test_a_command_that_fails_is_no_error(running: Machine) -> None:
    answer = running.post("exec", {"command": ["sh", "-c", "echo out; echo err >&2; exit 3"]})
    assert answer.status_code == 200
    assert answer.json() == {"exit_code": 3, "stdout": "out\n", "stderr": "err\n"}
    responses.ExecResult.model_validate_json(answer.content)


def test_cmd_is_the_same_as_command(running: Machine) -> None:
    assert running.post("exec", {"cmd": ["echo", "hi"], "timeout": 30}).json()["stdout"] == "hi\n"
    assert running.post("exec", {"cmd": ["true"], "command": ["true"]}).status_code == 200
    refused(running.post("exec", {"cmd": ["true"], "command": ["false"]}), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"command": "ls -l"}, "command must be an array"),
        ({"cmd": "ls -l"}, "cmd must be an array"),
        ({"command": []}, "command must not be empty"),
        ({"command": [1]}, "command.0 must be a string"),
        ({}, "command is required"),
        ({"command": ["true"], "timeout": 0}, "timeout must be more than 0"),
        ({"command": ["true"], "timeout": "x"}, "timeout must be a number"),
        ({"command": ["a\0b"]}, "command: an argument holds a NUL"),
    ],
)
def test_what_makes_no_sense_is_told(running: Machine, body: dict[str, object], words: str) -> None:
    assert refused(running.post("exec", body), 400, "VALIDATION_ERROR").startswith(words)


def test_a_program_that_is_not_there_ends_as_in_a_container(running: Machine) -> None:
    done = running.post("exec", {"command": ["/no/such/program"]}).json()
    assert (done["exit_code"], "/no/such/program" in done["stderr"]) == (255, True)


def test_a_command_that_takes_too_long_is_ended(running: Machine) -> None:
    words = refused(running.post("exec", {"command": ["sleep", "1000"], "timeout": 1}), 504, "TIMEOUT")
    assert words == "Command execution timed out after 1 seconds"


@pytest.mark.parametrize("before", [(), ("start", "pause"), ("start", "stop")])
def test_only_a_machine_that_runs_runs_commands(machine: Machine, before: tuple[str, ...]) -> None:
    for verb in before:
        told(machine.post(verb))
    status = machine.look()["status"]
    words = refused(machine.post("exec", {"command": ["true"]}), 400, "BAD_REQUEST")
    assert words == "Machine must be running to execute commands"
    assert machine.look()["status"] == status


def test_a_file_is_written_read_looked_at_and_removed(running: Machine) -> None:
    content = base64.b64encode(b"\x00hi").decode()
    wrote = running.post("files", {"path": "/tmp/a/b", "content": content})
    assert (wrote.status_code, wrote.json()) == (200, {"success": True, "bytes_written": 3})
    files, where = f"{running.path}/files", {"params": {"path": "/tmp/a/b"}}
    assert running.http.get(files, **where).json() == {"content": content, "size": 3}
    stat = responses.Stat.model_validate_json(running.http.get(f"{files}/stat", **where).content)
    assert (stat.path, stat.size, stat.is_dir) == ("/tmp/a/b", 3, False)
    assert running.http.delete(files, **where).status_code == 204
    assert "/tmp/a/b" in refused(running.http.get(files, **where), 404, "NOT_FOUND")


def test_paths_are_absolute_and_lead_nowhere_up(running: Machine) -> None:
    def read(path: str) -> httpx.Response:
        return running.http.get(f"{running.path}/files", params={"path": path})

    refused(read("/tmp/../etc/passwd"), 400, "PATH_TRAVERSAL_ERROR")
    assert refused(read("etc/passwd"), 400, "VALIDATION_ERROR") == "path must be absolute"
    assert refused(running.http.get(f"{running.path}/files"), 400, "VALIDATION_ERROR") == "path is required"
    bad = {"path": "/tmp/x", "content": "not base64!"}
    assert refused(running.post("files", bad), 400, "VALIDATION_ERROR") == "content must be base64"
