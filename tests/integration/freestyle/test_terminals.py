"""Terminals that are kept by name."""

from hutch.api.freestyle import guest_responses

from .conftest import Vm, refused, told
from .test_exec import run


def test_a_terminal_keeps_directory_and_variables(vm: Vm) -> None:
    run(vm, "mkdir -p deep; cd deep; X=1", terminal="build")
    assert run(vm, 'echo "$X ${PWD##*/}"; false', terminal="build") == {
        "stdout": "1 deep\n",
        "stderr": "",
        "statusCode": 1,
    }


def test_terminals_are_listed(vm: Vm) -> None:
    assert told(vm.http.get(f"{vm.path}/terminals"), guest_responses.Terminals) == {"terminals": []}
    for name in ("one", "two"):
        run(vm, "true", terminal=name)
    run(vm, "exit", terminal="two")
    listed = told(vm.http.get(f"{vm.path}/terminals"), guest_responses.Terminals)["terminals"]
    assert {it["name"]: it["status"] for it in listed} == {"one": "running", "two": "exited"}
    run(vm, "true", terminal="two")
    listed = told(vm.http.get(f"{vm.path}/terminals"), guest_responses.Terminals)["terminals"]
    assert {it["name"]: it["status"] for it in listed} == {"one": "running", "two": "running"}


def test_what_a_terminal_has_shown_is_told_as_lines_and_as_it_was(vm: Vm) -> None:
    run(vm, "printf '\\033[31mred\\033[0m\\n'", terminal="build")
    logs = told(vm.http.get(f"{vm.path}/terminals/build/logs"), guest_responses.TerminalLogs)["logs"]
    assert [it["timestamp"] is not None for it in logs if it["line"] == "red"] == [True]
    shown = told(vm.http.get(f"{vm.path}/terminals/build/xterm-256color"), guest_responses.TerminalOutput)
    assert "\x1b[31mred\x1b[0m\r\n" in shown["output"]


def test_what_is_not_there_is_told(vm: Vm) -> None:
    for what in ("logs", "xterm-256color"):
        refused(vm.http.get(f"{vm.path}/terminals/none/{what}"), "SESSION_NOT_FOUND")
    refused(vm.http.get("/v1/vms/nope/terminals"), "VM_NOT_FOUND")
    refused(vm.post("exec-await", {"command": "true", "terminal": "a/b"}), "INVALID_SESSION_ID")


def test_a_stopped_vm_has_no_terminals_to_look_at(vm: Vm) -> None:
    assert vm.post("stop").status_code == 200
    refused(vm.http.get(f"{vm.path}/terminals"), "VM_NOT_RUNNING")
