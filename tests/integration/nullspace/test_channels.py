"""WebSockets, as their messages are on the wire."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

import live

from .conftest import Machine


class Talk:
    """A socket, spoken to in messages."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def say(self, type_: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": type_, **fields}))

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=10))
        return message

    def until(self, type_: str) -> list[dict[str, Any]]:
        """All messages up to the first of this type."""
        heard = [self.hear()]
        while heard[-1]["type"] != type_:
            heard.append(self.hear())
        return heard


@contextmanager
def talking(service: live.Live, key: str | None, path: str) -> Iterator[Talk]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    url = service.url.replace("http://", "ws://") + path
    with connect(url, additional_headers=headers, proxy=None) as socket:
        yield Talk(socket)


@pytest.fixture
def talk(service: live.Live, key: str, machine: Machine) -> Iterator[Talk]:
    with talking(service, key, f"{machine.path}/ws?channel=exec") as it:
        yield it


def joined(heard: list[dict[str, Any]], type_: str) -> str:
    return "".join(it["data"] for it in heard if it["type"] == type_)


def test_a_command_is_started_told_and_ended(talk: Talk) -> None:
    talk.say("exec_start", id="e1", command="sh", args=["-c", "echo out; echo err >&2; exit 3"], timeout_secs=30)
    heard = talk.until("exec_exit")
    pid = heard[0]["pid"]
    assert heard[0] == {"type": "exec_started", "id": "e1", "pid": pid}
    assert heard[-1] == {"type": "exec_exit", "id": "e1", "pid": pid, "exit_code": 3}
    assert (joined(heard, "exec_stdout"), joined(heard, "exec_stderr")) == ("out\n", "err\n")
    assert all((it["id"], it["pid"]) == ("e1", pid) for it in heard)


def test_who_goes_while_nobody_reads_what_was_typed_is_gone(service: live.Live, key: str, machine: Machine) -> None:
    with talking(service, key, f"{machine.path}/ws?channel=pty") as talk:
        talk.say("pty_start", id="p1", envs={"PS1": ""})
        session = talk.hear()["session_id"]
        talk.say("pty_input", id="p1", session_id=session, data="stty raw -echo; echo re''ady; sleep 1000\n")
        while "ready" not in talk.hear()["data"]:
            pass
        for _ in range(8):
            talk.say("pty_input", id="p1", session_id=session, data="x" * 100_000)
    until = time.monotonic() + 60
    sessions = f"/freestyle/v1/vms/{machine.id.rpartition('_')[2]}/pty/sessions"
    while machine.http.get(sessions).json()["sessions"][0]["attachedCount"]:
        assert time.monotonic() < until, "it is held to be there still"
        time.sleep(0.1)


def test_a_command_is_fed_and_its_input_closed(talk: Talk) -> None:
    talk.say("exec_start", id="e1", command="cat; echo end", shell=True, cwd="/tmp", envs={"A": "b"})
    pid = talk.hear()["pid"]
    talk.say("exec_stdin", id="e1", pid=pid, data="zwölf\n")
    talk.say("exec_stdin_close", id="e1", pid=pid)
    heard = talk.until("exec_exit")
    assert (joined(heard, "exec_stdout"), heard[-1]["exit_code"]) == ("zwölf\nend\n", 0)


def test_several_commands_share_a_socket(talk: Talk) -> None:
    talk.say("exec_start", id="slow", command="sleep 1000")
    talk.say("exec_start", id="quick", command="echo quick")
    heard = talk.until("exec_exit")
    assert heard[-1]["id"] == "quick"
    talk.say("exec_kill", id="slow")
    assert talk.until("exec_exit")[-1] | {"pid": 0} == {"type": "exec_exit", "id": "slow", "pid": 0, "exit_code": 137}


def test_a_command_outlives_its_socket_and_is_found_by_pid(service: live.Live, key: str, machine: Machine) -> None:
    path = f"{machine.path}/ws?channel=exec"
    with talking(service, key, path) as talk:
        talk.say("exec_start", id="e1", command="echo begun; while read l; do echo got $l; done", shell=True)
        pid = talk.until("exec_stdout")[0]["pid"]
    with talking(service, key, path) as talk:
        talk.say("exec_connect", id="e2", pid=pid)
        assert talk.until("exec_stdout")[0] == {"type": "exec_started", "id": "e2", "pid": pid}
        talk.say("exec_stdin", id="e2", pid=pid, data="x\n")
        assert talk.hear()["data"] == "got x\n"
        talk.say("exec_kill", id="e2", pid=pid)
        assert talk.until("exec_exit")[-1]["exit_code"] == 137


def test_a_timeout_is_exit_code_124(talk: Talk) -> None:
    talk.say("exec_start", id="e1", command="sleep 1000", timeout_secs=1)
    assert talk.until("exec_exit")[-1]["exit_code"] == 124


def test_a_machine_that_is_told_of_stays_hibernated(talk: Talk, machine: Machine) -> None:
    talk.say("exec_start", id="e1", command="while read l; do echo got $l; done", shell=True)
    talk.hear()
    machine.post("hibernate")
    assert machine.look()["status"] == "paused"
    talk.say("exec_stdin", id="e1", data="x\n")
    assert talk.hear()["data"] == "got x\n"
    assert machine.look()["status"] == "running"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not json", "invalid_request"),
        ("[]", "invalid_request"),
        ('{"type":"dance"}', "invalid_request"),
        ('{"type":"exec_start","id":"e"}', "invalid_request"),
        ('{"type":"exec_start","id":"e","command":""}', "invalid_request"),
        ('{"type":"exec_start","id":"e","command":"no-such-program"}', "not_found"),
        ('{"type":"exec_connect","id":"e","pid":999999}', "not_found"),
        ('{"type":"exec_stdin","id":"e","data":"x"}', "not_found"),
        ('{"type":"pty_start","id":"e","cols":0}', "invalid_request"),
        ('{"type":"pty_connect","id":"e"}', "invalid_request"),
        ('{"type":"pty_connect","id":"e","session_id":"x"}', "not_found"),
        ('{"type":"pty_input","id":"e","data":"x"}', "not_found"),
        ('{"type":"file_watch","id":"e","path":"/none"}', "not_found"),
        ('{"type":"file_watch","id":"e","path":"/tmp","user":"nobody"}', "not_implemented"),
    ],
)
def test_what_makes_no_sense_is_told_and_the_socket_goes_on(talk: Talk, message: str, code: str) -> None:
    talk._socket.send(message)
    heard = talk.hear()
    assert (heard["type"], heard["code"]) == ("error", code), heard
    assert heard["message"]
    assert heard.get("id") == ("e" if '"id":"e"' in message else None)
    talk.say("exec_start", id="after", command="true")
    assert talk.until("exec_exit")[-1]["exit_code"] == 0


def test_a_terminal_speaks_bytes(service: live.Live, key: str, machine: Machine) -> None:
    with talking(service, key, f"{machine.path}/ws?channel=pty") as talk:
        talk.say("pty_start", id="p1", cols=100, rows=40, envs={"PS1": ""})
        started = talk.hear()
        session = started["session_id"]
        assert started == {
            **{"type": "pty_started", "id": "p1", "session_id": session, "exec_id": session},
            **{"pid": started["pid"], "cols": 100, "rows": 40},
        }
        talk.say("pty_resize", id="p1", session_id=session, cols=90, rows=30)
        typed = base64.b64encode(b"stty -echo; stty size; exit 4\n").decode()
        talk.say("pty_input", id="p1", session_id=session, data_base64=typed)
        heard = talk.until("pty_exited")
        assert heard[-1] == {"type": "pty_exited", "id": "p1", "session_id": session, "exit_code": 4}
        outputs = [it for it in heard if it["type"] == "pty_output"]
        exact = b"".join(base64.b64decode(it["data_base64"]) for it in outputs)
        assert b"30 90" in exact
        assert joined(outputs, "pty_output") == exact.decode()


def test_terminals_are_reached_by_requests_too(service: live.Live, key: str, machine: Machine) -> None:
    with talking(service, key, f"{machine.path}/ws?channel=pty") as talk:
        talk.say("pty_start", id="p1")
        session = talk.hear()["session_id"]
        (listed,) = machine.http.get(f"{machine.path}/pty").json()
        assert (listed["session_id"], listed["cols"], listed["rows"]) == (session, 120, 30)
        assert machine.post(f"pty/{session}/resize", {"cols": 50, "rows": 20}).status_code == 204
        assert machine.http.get(f"{machine.path}/pty/{session}").json()["cols"] == 50
        assert machine.post(f"pty/{session}/resize", {"cols": 0, "rows": 20}).status_code == 400
        assert machine.http.delete(f"{machine.path}/pty/{session}").status_code == 204
        talk.until("pty_exited")
    assert machine.http.get(f"{machine.path}/pty").json() == []
    assert machine.http.get(f"{machine.path}/pty/nope").status_code == 404


def test_a_directory_is_watched(service: live.Live, key: str, machine: Machine) -> None:
    machine.post("files/mkdir", {"path": "/workspace/w"})
    with talking(service, key, f"{machine.path}/ws") as talk:
        talk.say("file_watch", id="w1", path="/workspace/w", recursive=False, user=None, timeout_secs=None)
        assert talk.hear() == {"type": "file_watch_started", "id": "w1"}
        machine.post("files/write", {"path": "/workspace/w/new", "content": "x"})
        heard = talk.hear()
        assert (heard["type"], heard["id"], heard["name"], heard["path"]) == (
            *("file_event", "w1", "new", "/workspace/w/new"),
        )
        assert heard["event"] in ("create", "write", "rename")


def test_lifecycle_is_told_of_one_machine_and_of_all(service: live.Live, key: str, machine: Machine) -> None:
    with (
        talking(service, key, f"{machine.path}/lifecycle/ws") as one,
        talking(service, key, "/v1/lifecycle/ws") as every,
    ):
        one.say("subscribe", operation="hibernate", live_only=True)
        subscription = {"machine_id": machine.id, "operation": "hibernate"}
        assert one.hear() == {"type": "subscribed", "subscription": subscription, "reconnect_mode": "live_only"}
        every.say("subscribe", status="succeeded", metadata={"no": "such"})
        every.hear()
        every.say("subscribe", operation="hibernate", status="succeeded")
        every.hear()
        machine.post("hibernate")
        told = [one.hear()["event"], one.hear()["event"]]
        assert [it["status"] for it in told] == ["requested", "succeeded"]
        assert {it["machine_id"] for it in told} == {machine.id}
        assert every.hear()["event"]["machine_id"] == machine.id


def test_what_was_is_told_again_if_asked_for(service: live.Live, key: str, machine: Machine) -> None:
    machine.post("hibernate")
    path = f"{machine.path}/lifecycle"
    past = machine.http.get(path, params={"order": "asc", "limit": 500}).json()["events"]
    with talking(service, key, f"{path}/ws") as talk:
        talk.say("subscribe", replay_limit=100)
        talk.hear()
        assert [talk.hear()["event"] for _ in past] == past
    with talking(service, key, f"{path}/ws") as talk:
        talk.say("subscribe", after_event_id=past[-2]["id"], replay_limit=100)
        talk.hear()
        assert talk.hear()["event"] == past[-1]
    with talking(service, key, "/v1/lifecycle/ws") as talk:
        talk.say("subscribe", operation="hibernate", replay_limit=1)
        talk.hear()
        assert talk.hear()["event"] == past[-1]


@pytest.mark.parametrize(
    ("path", "key_of", "status"),
    [
        ("/v1/machines/{id}/ws?channel=exec", "none", 401),
        ("/v1/machines/{id}/ws?channel=exec", "wrong", 401),
        ("/v1/machines/{id}/ws?channel=dance", "mine", 400),
        ("/v1/machines/mch_nope/ws?channel=exec", "mine", 404),
        ("/v1/machines/mch_nope/lifecycle/ws", "mine", 404),
        ("/v1/lifecycle/ws", "wrong", 401),
    ],
)
def test_a_socket_that_may_not_be_opened_is_answered(
    service: live.Live, key: str, machine: Machine, path: str, key_of: str, status: int
) -> None:
    token = {"none": None, "wrong": "ns_wrong", "mine": key}[key_of]
    where = "/nullspace" + path.replace("{id}", machine.id)
    with pytest.raises(InvalidStatus) as caught, talking(service, token, where):
        pass
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"{}")["code"]
