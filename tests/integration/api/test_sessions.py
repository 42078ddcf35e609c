"""Sessions: a directory and variables kept from one command to the next."""

import pytest

from hutch.api.smol.sessions import SessionInfo

from .conftest import Machine
from .test_exec_stream import streamed

NOWHERE = "mach-aaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
def session(machine: Machine) -> str:
    made = machine.post("sessions", {"cwd": "/tmp", "env": {"PROJECT": "myapp"}})
    assert made.status_code == 200, made.text
    id: str = SessionInfo.model_validate_json(made.content).id
    return id


def run(machine: Machine, session: str, command: object, **fields: object) -> tuple[int, str]:
    answer = machine.post(f"sessions/{session}/exec", {"command": command, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["exitCode"], answer.json()["stdout"]


def place(machine: Machine, session: str, **fields: object) -> str:
    """Where a command finds itself; the simulated host's machines are in directories of this box."""
    root = machine.exec(["pwd"], cwd="/")["stdout"].strip()
    return run(machine, session, ["pwd"], **fields)[1].strip().removeprefix(root) or "/"


def test_a_session_is_opened_without_starting_its_machine(machine: Machine, session: str) -> None:
    assert machine.look()["state"] == "stopped"
    shown = machine.http.get(f"{machine.path}/sessions").json()
    assert [it["id"] for it in shown] == [session]
    assert shown[0] | {"createdAt": ""} == {
        "id": session,
        "machineId": machine.id,
        "status": "active",
        "cwd": "/tmp",
        "env": {"PROJECT": "myapp"},
        "createdAt": "",
        "lastExecAt": None,
    }


def test_its_directory_and_variables_are_the_commands(machine: Machine, session: str) -> None:
    assert place(machine, session) == "/tmp"
    assert run(machine, session, "echo $PROJECT") == (0, "myapp\n")
    assert run(machine, session, ["printenv", "PROJECT"]) == (0, "myapp\n")
    assert machine.http.get(f"{machine.path}/sessions/{session}").json()["lastExecAt"]


def test_cd_and_export_stay(machine: Machine, session: str) -> None:
    assert run(machine, session, "mkdir -p deep; cd deep; export A='b c'; exit 3") == (3, "")
    assert place(machine, session) == "/tmp/deep"
    assert run(machine, session, "echo $A") == (0, "b c\n")
    shown = machine.http.get(f"{machine.path}/sessions/{session}").json()
    assert (shown["cwd"], shown["env"]["A"]) == ("/tmp/deep", "b c")


def test_what_a_command_says_goes_over_it_for_this_once(machine: Machine, session: str) -> None:
    assert place(machine, session, cwd="/") == "/"
    assert place(machine, session) == "/tmp"
    assert run(machine, session, ["printenv", "PROJECT"], env={"PROJECT": "other"}) == (0, "other\n")
    assert run(machine, session, ["printenv", "PROJECT"]) == (0, "myapp\n")


def test_a_command_of_a_session_can_be_streamed(machine: Machine, session: str) -> None:
    told = streamed(machine, f"sessions/{session}/exec", "echo $PROJECT; exit 4", stream=True)
    assert told == [("stdout", "myapp\n"), ("exit", '{"exitCode":4}')]


def test_a_session_may_have_an_id_of_ones_own_once(machine: Machine) -> None:
    assert machine.post("sessions", {"id": "mine"}).json()["id"] == "mine"
    again = machine.post("sessions", {"id": "mine"})
    assert (again.status_code, "mine" in again.text) == (409, True)


def test_a_deleted_session_is_not_there(machine: Machine, session: str) -> None:
    assert machine.http.delete(f"{machine.path}/sessions/{session}").status_code == 204
    assert machine.http.delete(f"{machine.path}/sessions/{session}").status_code == 404
    assert machine.http.get(f"{machine.path}/sessions/{session}").status_code == 404
    assert machine.post(f"sessions/{session}/exec", {"command": "true"}).status_code == 404
    assert machine.http.get(f"{machine.path}/sessions").json() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"cwd": "relative"}, 400),
        ({"env": {"": "x"}}, 400),
        ({"env": {"A": 1}}, 422),
        ({"id": 5}, 422),
        ([], 422),
    ],
)
def test_a_session_that_makes_no_sense_is_refused(machine: Machine, body: object, status: int) -> None:
    assert machine.post("sessions", body).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [({"command": "true", "interactive": True}, 400), ({"command": []}, 400), ({}, 422), ({"command": 5}, 422)],
)
def test_a_command_that_makes_no_sense_is_refused(machine: Machine, session: str, body: object, status: int) -> None:
    assert machine.post(f"sessions/{session}/exec", body).status_code == status


def test_sessions_of_no_machine_are_404(machine: Machine) -> None:
    for method, what in (("GET", "sessions"), ("POST", "sessions"), ("GET", "sessions/x"), ("DELETE", "sessions/x")):
        answer = machine.http.request(method, f"/v1/machines/{NOWHERE}/{what}")
        assert (answer.status_code, answer.text) == (404, "machine not found"), (method, what)
