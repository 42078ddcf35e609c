"""Jobs: commands that run on when their caller has gone."""

import base64
from typing import Any

import pytest

from hutch.api.smol.jobs import Job, JobOutput

from .conftest import Machine
from .test_exec_stream import within

LIMIT = 10.0


def start(machine: Machine, command: object, **fields: object) -> str:
    answer = machine.post("jobs", {"command": command, **fields})
    assert answer.status_code == 200, answer.text
    return Job.model_validate_json(answer.content).id


def look(machine: Machine, job: str) -> dict[str, Any]:
    shown: dict[str, Any] = machine.http.get(f"{machine.path}/jobs/{job}").json()
    return shown


def ended(machine: Machine, job: str) -> dict[str, Any]:
    within(LIMIT, lambda: look(machine, job)["state"] != "running")
    return look(machine, job)


def output(machine: Machine, job: str, query: str = "") -> JobOutput:
    answer = machine.http.get(f"{machine.path}/jobs/{job}/output?{query}")
    assert answer.status_code == 200, answer.text
    return JobOutput.model_validate_json(answer.content)


def test_a_job_starts_its_machine_and_runs_to_its_end(machine: Machine) -> None:
    job = start(machine, "echo out; echo err >&2; exit 3", env={"A": "b"}, cwd="/tmp")
    done = ended(machine, job)
    assert (done["state"], done["exitCode"], done["machineId"]) == ("exited", 3, machine.id)
    assert done["finishedAt"] >= done["createdAt"]
    assert (done["stdoutBytes"], done["stderrBytes"]) == (4, 4)
    page = output(machine, job)
    assert (page.stream, page.data, page.offset, page.next_offset, page.eof) == ("stdout", "out\n", 0, 4, True)
    assert output(machine, job, "stream=stderr").data == "err\n"


def test_output_is_read_by_offset_and_exactly(machine: Machine) -> None:
    job = start(machine, ["printf", r"ab\000\377z"])
    ended(machine, job)
    page = output(machine, job, "offset=2&limit=2")
    assert (base64.b64decode(page.data_b64), page.next_offset, page.eof) == (b"\0\xff", 4, False)
    assert page.data == "\0�"
    last = output(machine, job, "offset=5")
    assert (last.data, last.next_offset, last.eof) == ("", 5, True)


def test_a_job_that_runs_is_not_at_its_end(machine: Machine) -> None:
    job = start(machine, "echo begun; sleep 1000")
    within(LIMIT, lambda: output(machine, job).data == "begun\n")
    assert not output(machine, job).eof
    assert look(machine, job)["exitCode"] is None


def test_a_cancelled_job_ends_with_143_and_cancelling_again_changes_nothing(machine: Machine) -> None:
    job = start(machine, ["sleep", "1000"])
    assert machine.post(f"jobs/{job}/cancel").status_code == 200
    assert ended(machine, job)["exitCode"] == 143
    assert machine.post(f"jobs/{job}/cancel").json()["exitCode"] == 143


def test_a_jobs_time_limit_ends_it_with_124(machine: Machine) -> None:
    assert ended(machine, start(machine, "sleep 1000", timeoutSeconds=1))["exitCode"] == 124


def test_jobs_are_listed_newest_first(machine: Machine) -> None:
    jobs = [start(machine, f"exit {code}") for code in range(3)]
    shown = machine.http.get(f"{machine.path}/jobs").json()
    assert set(shown) == {"jobs"}
    assert [it["id"] for it in shown["jobs"]] == jobs[::-1]
    assert [it["id"] for it in machine.http.get(f"{machine.path}/jobs?limit=1").json()["jobs"]] == jobs[:1:-1]


def test_a_job_whose_machine_was_stopped_is_lost(machine: Machine) -> None:
    job = start(machine, "sleep 1000")
    machine.post("stop")
    assert look(machine, job)["state"] == "lost"
    assert machine.look()["state"] == "stopped"


def test_stdin_is_the_jobs_own(machine: Machine) -> None:
    job = start(machine, "cat", stdin="typed\n")
    ended(machine, job)
    assert output(machine, job).data == "typed\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"command": []}, 400),
        ({"command": "true", "cwd": "relative"}, 400),
        ({"command": "true", "timeoutSeconds": 0}, 400),
        ({"command": ["no-such-program"]}, 404),
    ],
)
def test_a_job_that_cannot_be_is_refused(machine: Machine, body: object, status: int) -> None:
    answer = machine.post("jobs", body)
    assert (answer.status_code, bool(answer.text)) == (status, True)
    assert machine.http.get(f"{machine.path}/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=1048577", "offset=-1", "stream=both", "offset=x"])
def test_a_page_that_cannot_be_is_400(machine: Machine, query: str) -> None:
    job = start(machine, "true")
    assert machine.http.get(f"{machine.path}/jobs/{job}/output?{query}").status_code == 400


def test_an_unknown_job_is_404(running: Machine) -> None:
    for method, what in (("GET", "jobs/none"), ("GET", "jobs/none/output"), ("POST", "jobs/none/cancel")):
        answer = running.http.request(method, f"{running.path}/{what}")
        assert (answer.status_code, bool(answer.text)) == (404, True), what
