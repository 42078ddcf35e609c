"""What Hutch has beyond the documented service: processes and images."""

import base64

import httpx
import pytest

from hutch.api.smol import responses
from hutch.client import wire

from .conftest import Machine, create


@pytest.fixture
def background(machine: Machine) -> str:
    """A process that has written something and goes on."""
    process: str = machine.exec("echo out; echo err >&2; sleep 1000", background=True)["processId"]
    return process


def page(machine: Machine, process: str, query: str) -> responses.ProcessOutput:
    answer = machine.http.get(f"{machine.path}/processes/{process}/output?{query}")
    assert answer.status_code == 200, answer.text
    return responses.ProcessOutput.model_validate_json(answer.content)


def test_processes_are_listed(machine: Machine, background: str) -> None:
    listed = [responses.Process.model_validate(it) for it in machine.http.get(f"{machine.path}/processes").json()]
    assert [it.id for it in listed] == [background]
    assert listed[0].exit is None


def test_looking_for_processes_starts_nothing(machine: Machine) -> None:
    assert machine.http.get(f"{machine.path}/processes").json() == []
    assert machine.look()["state"] == "stopped"


def test_output_is_read_from_an_offset_on_and_waited_for(machine: Machine) -> None:
    process = machine.exec("echo first; sleep 0.3; echo second; exit 5", background=True)["processId"]
    first = page(machine, process, "wait=5")
    assert base64.b64decode(first.stdout_b64) == b"first\n"
    assert (first.stdout_offset, first.stdout_next_offset, first.exit) == (0, 6, None)
    told, offset, last = b"", 6, first
    while last.exit is None:
        last = page(machine, process, f"stdout={offset}&wait=5")
        told, offset = told + base64.b64decode(last.stdout_b64), last.stdout_next_offset
    assert (told, last.exit.exit_code) == (b"second\n", 5)
    assert base64.b64decode(page(machine, process, "stdout=2&limit=3").stdout_b64) == b"rst"


def test_a_signal_ends_a_process_and_forgetting_removes_it(machine: Machine, background: str) -> None:
    assert machine.post(f"processes/{background}/signal", {"signal": "TERM"}).status_code == 204
    stopped, stdout, stderr = None, 0, 0
    while stopped is None:
        told = page(machine, background, f"stdout={stdout}&stderr={stderr}&wait=5")
        stopped, stdout, stderr = told.exit, told.stdout_next_offset, told.stderr_next_offset
    assert (stopped.exit_code, stopped.signal) == (143, 15)
    assert machine.http.delete(f"{machine.path}/processes/{background}").status_code == 204
    assert machine.http.get(f"{machine.path}/processes").json() == []


def test_a_process_on_a_terminal_has_its_size_and_can_be_resized(machine: Machine) -> None:
    body = {"command": "stty size; read x; stty size", "terminal": {"cols": 100, "rows": 30}, "interactive": True}
    with machine.http.stream("POST", f"{machine.path}/exec/stream", json=body) as answer:
        reader, told = wire.ServerEvents(), ""
        for line in answer.iter_lines():
            event = reader.feed(line)
            if event and event[0] == "stdout":
                told += event[1]
                if told == "30 100\n":
                    process = answer.headers["x-hutch-process-id"]
                    machine.post(f"processes/{process}/resize", {"cols": 90, "rows": 20})
                    machine.http.post(f"{machine.path}/processes/{process}/stdin", content=b"\n")
    assert told.split() == ["30", "100", "20", "90"]


def test_an_unknown_process_is_404(machine: Machine) -> None:
    machine.post("start")
    assert machine.http.get(f"{machine.path}/processes/none/output").status_code == 404


def test_an_image_is_pulled_with_progress_listed_and_removed(http: httpx.Client) -> None:
    answer = http.post("/v1/images/pull", json={"reference": "node:22"})
    reader = wire.ServerEvents()
    told = [event for line in answer.text.split("\n") if (event := reader.feed(line))]
    assert [name for name, _ in told][-1] == "image"
    assert {name for name, _ in told} <= {"progress", "image"}
    image = responses.Image.model_validate_json(told[-1][1])
    assert image.reference == "node:22"
    assert "node:22" in {it["reference"] for it in http.get("/v1/images").json()}
    assert http.delete("/v1/images/node%3A22").status_code == 204
    assert "node:22" not in {it["reference"] for it in http.get("/v1/images").json()}
    assert http.delete("/v1/images/node:22").status_code == 404


def test_an_image_that_is_used_is_not_removed(http: httpx.Client) -> None:
    made = create(http, source={"type": "image", "reference": "busybox"}).json()["id"]
    http.post(f"/v1/machines/{made}/start")
    assert http.delete("/v1/images/busybox").status_code == 409
    http.delete(f"/v1/machines/{made}")


def test_an_image_that_cannot_be_had_is_422_at_once(http: httpx.Client) -> None:
    answer = http.post("/v1/images/pull", json={"reference": "no/such:image"})
    assert answer.status_code == 422
    assert "manifest unknown" in answer.text


def test_a_name_that_looks_like_an_id_is_still_a_name(http: httpx.Client) -> None:
    name = "a1" * 10
    made = create(http, name=name).json()["id"]
    assert http.post(f"/v1/machines/{name}/start").json()["id"] == made
    checkpoint = http.post(f"/v1/machines/{name}/checkpoints", json={"name": name}).json()["id"]
    assert http.post(f"/v1/checkpoints/{name}/verify").json()["id"] == checkpoint
    pool = http.post("/v1/pools", json={"image": "debian", "name": name, "min": 0, "max": 1}).json()["id"]
    claimed = http.post(f"/v1/pools/{name}/claim").json()["id"]
    for path in (f"machines/{name}", f"checkpoints/{name}", f"pools/{name}", f"machines/{claimed}"):
        assert http.delete(f"/v1/{path}").status_code == 204, path
    for path in (f"machines/{made}", f"checkpoints/{checkpoint}", f"pools/{pool}"):
        assert http.get(f"/v1/{path}").status_code == 404, path


def test_a_bare_id_needs_no_right_to_look(http: httpx.Client, machine: Machine) -> None:
    key = http.post("/v1/apikeys", json={"scopes": ["machine:exec"]}).json()["key"]
    headers = {"authorization": f"Bearer {key}"}
    for id in (machine.id, machine.id.removeprefix("mach-")):
        assert http.post(f"/v1/machines/{id}/suspend", headers=headers).status_code == 409
