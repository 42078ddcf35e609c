"""Commands in VMs."""

import httpx
import pytest

from hutch.api.freestyle import execs, guest_requests, guest_responses

from .conftest import Vm, refused, told


def run(vm: Vm, command: str, **fields: object) -> dict[str, object]:
    return told(vm.post("exec-await", {"command": command, **fields}), guest_responses.ExecAwaited)


def test_a_line_of_shell_is_run_and_told(vm: Vm) -> None:
    assert run(vm, "echo out; echo err >&2; exit 3") == {"stdout": "out\n", "stderr": "err\n", "statusCode": 3}
    assert run(vm, "true", terminal=None, timeoutMs=None)["statusCode"] == 0


def test_it_runs_as_the_user_a_header_names(vm: Vm) -> None:
    answer = vm.post("exec-await", {"command": "true"}, headers={"X-Freestyle-Vm-Linux-User-Id": "no-such-user"})
    assert told(answer, guest_responses.ExecAwaited)["statusCode"] == 255
    assert "no-such-user" in answer.json()["stderr"]


@pytest.mark.parametrize("terminal", [None, "main"])
def test_one_that_takes_too_long_is_ended(vm: Vm, terminal: str | None) -> None:
    answer = vm.post("exec-await", {"command": "sleep 1000", "timeoutMs": 300, "terminal": terminal})
    assert "300ms" in refused(answer, "EXEC_TIMED_OUT")
    assert run(vm, "echo on", terminal=terminal)["stdout"] == "on\n"


def test_a_suspended_vm_goes_on_and_a_stopped_one_has_to_be_started(vm: Vm) -> None:
    assert vm.post("suspend").status_code == 200
    assert run(vm, "echo awake")["stdout"] == "awake\n"
    assert vm.post("stop").status_code == 200
    refused(vm.post("exec-await", {"command": "true"}), "VM_NOT_RUNNING")


@pytest.mark.parametrize(
    "body",
    [{}, {"command": ""}, {"command": 1}, {"command": "true", "timeoutMs": -1}, {"command": "true", "timeoutMs": 0}],
)
def test_what_makes_no_sense_is_refused(vm: Vm, body: dict[str, object]) -> None:
    refused(vm.post("exec-await", body), "VALIDATION_ERROR", 400)


def test_there_is_no_such_vm(http: httpx.Client) -> None:
    refused(http.post("/v1/vms/nope/exec-await", json={"command": "true"}), "VM_NOT_FOUND")


def test_what_waited_too_long_for_its_terminal_says_so() -> None:
    its = guest_requests.ExecAwait.model_validate({"command": "x", "terminal": "main"})
    assert execs.overrun(its) == "600s: terminal main is not free"
