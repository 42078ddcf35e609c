"""Commands and processes; over plain HTTP."""

import time
from typing import Any

import httpx
import pytest

from hutch.api.nullspace import responses

from .conftest import Machine, refused


def test_a_command_tells_both_outputs_and_its_exit_code(machine: Machine) -> None:
    done = machine.exec("sh", args=["-c", "echo out; echo err >&2; exit 3"])
    assert (done["exit_code"], done["stdout"], done["stderr"]) == (3, "out\n", "err\n")
    assert done["pid"] > 0


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({"command": "echo", "args": ["a  b", "$HOME"]}, "a  b $HOME\n"),
        ({"command": "echo a   b; echo c"}, "a b\nc\n"),
        ({"command": "echo $((1+2))", "shell": True}, "3\n"),
        ({"command": "printf %s:", "args": ["a b", "$HOME"], "shell": True}, "a b:$HOME:"),
        ({"command": "pwd", "shell": False}, None),
    ],
)
def test_a_line_is_for_the_shell_and_arguments_are_not(
    machine: Machine, fields: dict[str, Any], output: str | None
) -> None:
    done = machine.exec(**fields)
    assert done["exit_code"] == 0
    assert output is None or done["stdout"] == output


def test_a_command_begins_in_the_workspace(machine: Machine) -> None:
    assert machine.exec("basename $PWD")["stdout"] == "workspace\n"
    assert machine.exec("basename $PWD", cwd="/tmp")["stdout"] == "tmp\n"


def test_variables_are_its_own(machine: Machine) -> None:
    assert machine.exec("echo $A", envs={"A": "b c"})["stdout"] == "b c\n"
    assert machine.exec("echo $A")["stdout"] == "\n"


def test_what_takes_too_long_is_ended_and_a_504(machine: Machine) -> None:
    refused(machine.post("exec", {"command": "sleep 1000", "timeout_secs": 1}), 504, "exec_timeout")


def test_a_program_that_is_not_there_is_an_exit_code(machine: Machine) -> None:
    done = machine.exec("no-such-program")
    assert (done["exit_code"], done["pid"]) == (255, None)
    assert "not found" in done["stderr"]


def test_much_output_is_whole_up_to_a_limit_and_told_to_be_cut(machine: Machine) -> None:
    whole = machine.exec("head -c 3000000 /dev/zero | tr '\\0' x")
    assert (len(whole["stdout"]), "stdout_truncated" in whole) == (3_000_000, False)
    cut = machine.exec("head -c 17000000 /dev/zero | tr '\\0' x")
    assert (len(cut["stdout"]), cut["stdout_truncated"], "stderr_truncated" in cut) == (16 * 2**20, True, False)


def test_what_is_not_utf8_is_replaced(machine: Machine) -> None:
    assert machine.exec(r"printf 'a\377b'")["stdout"] == "a�b"


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"command": ""}, {"command": "  "}, {"command": ["echo"]}, {"command": "a\0b"}),
        *({"command": "x", "timeout_secs": 0}, {"command": "x", "cwd": "relative"}, {"command": "x", "envs": {"": ""}}),
    ],
)
def test_what_makes_no_sense_is_refused(machine: Machine, body: dict[str, Any]) -> None:
    refused(machine.post("exec", body), 400, "invalid_request")


def listed(machine: Machine, pid: int) -> dict[str, Any]:
    answer = machine.http.get(f"{machine.path}/processes")
    found: dict[str, Any] = next(it for it in answer.json() if it["pid"] == pid)
    responses.Process.model_validate(found)
    return found


def wait_logs(machine: Machine, pid: int, **wanted: object) -> dict[str, Any]:
    until = time.monotonic() + 10
    while True:
        answer = machine.http.get(f"{machine.path}/processes/{pid}/logs")
        assert answer.status_code == 200, answer.text
        responses.Logs.model_validate_json(answer.content)
        logs: dict[str, Any] = answer.json()
        if wanted.items() <= logs.items():
            return logs
        assert time.monotonic() < until, logs
        time.sleep(0.05)


def test_a_process_in_the_background_is_listed_read_fed_and_killed(machine: Machine) -> None:
    started = machine.exec("echo begun; echo oops >&2; while read line; do echo got $line; done", background=True)
    pid = started["pid"]
    assert listed(machine, pid)["running"]
    assert listed(machine, pid)["command"].startswith("sh -lc echo begun")
    wait_logs(machine, pid, stdout="begun\n", stderr="oops\n", output="begun\noops\n", exit_code=None)
    answer = machine.post(f"processes/{pid}/stdin", {"data": "hello\n"})
    assert (answer.status_code, answer.content) == (204, b"")
    wait_logs(machine, pid, stdout="begun\ngot hello\n")
    answer = machine.post(f"processes/{pid}/kill")
    assert (answer.status_code, answer.content) == (204, b"")
    wait_logs(machine, pid, exit_code=137)
    assert not listed(machine, pid)["running"]


def test_logs_are_whole_however_long(machine: Machine) -> None:
    pid = machine.exec("head -c 900000 /dev/zero | tr '\\0' x", background=True)["pid"]
    logs = wait_logs(machine, pid, exit_code=0)
    assert len(logs["stdout"]) == 900_000
    assert wait_logs(machine, pid) == logs


def test_a_background_program_that_is_not_there_is_refused(machine: Machine) -> None:
    words = refused(machine.post("exec", {"command": "no-such-program", "background": True}), 404, "not_found")
    assert "no-such-program" in words


@pytest.mark.parametrize(("pid", "status", "code"), [("999999", 404, "not_found"), ("x", 400, "invalid_request")])
def test_a_process_that_is_not_there_is_not_found(machine: Machine, pid: str, status: int, code: str) -> None:
    refused(machine.http.get(f"{machine.path}/processes/{pid}/logs"), status, code)
    refused(machine.post(f"processes/{pid}/kill"), status, code)
    refused(machine.post(f"processes/{pid}/stdin", {"data": ""}), status, code)


def test_a_machine_that_does_not_run_has_no_processes(machine: Machine) -> None:
    machine.post("hibernate")
    assert machine.http.get(f"{machine.path}/processes").json() == []
    assert machine.look()["status"] == "paused"


def test_metrics_are_a_list_of_one(machine: Machine) -> None:
    answer = machine.http.get(f"{machine.path}/metrics")
    (it,) = answer.json()
    shown = responses.Metrics.model_validate(it)
    assert shown.cpu_count == 1
    assert 0 <= shown.cpu_percent <= 100
    assert 0 < shown.mem_used_bytes <= shown.mem_total_bytes
    assert 0 < shown.disk_used_bytes <= shown.disk_total_bytes


def test_a_client_that_goes_away_ends_its_command(machine: Machine) -> None:
    with pytest.raises(httpx.ReadTimeout):
        machine.post("exec", {"command": "sh", "args": ["-c", "echo $$ > pid; exec sleep 1000"]}, timeout=0.5)
    pid = machine.exec("cat pid")["stdout"].strip()
    gone = f"for i in $(seq 100); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    assert machine.exec(gone)["exit_code"] == 0
