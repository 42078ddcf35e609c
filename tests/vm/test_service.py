"""The whole service with real machines: what it survives, how many it holds, and what it leaves behind."""

import base64
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bench import service as measure
from bench.live import Live

from hutch.host.machines import journal
from hutch.host.paths import Paths
from hutch.model.ids import MachineId
from machines import left_by_service, traces
from registry import Registry

MIB = 2**20


class Api:
    """A few words over HTTP."""

    def __init__(self, live: Live, image: str) -> None:
        self.live, self.image = live, image
        self.http = self._client()

    def _client(self) -> httpx.Client:
        key = {"authorization": f"Bearer {self.live.key}"}
        return httpx.Client(base_url=self.live.url, headers=key, timeout=120)

    def reconnect(self) -> None:
        self.http.close()
        self.http = self._client()

    def create(self, memory: int = 128, **fields: object) -> str:
        source = {"type": "image", "reference": self.image}
        body = {"source": source, "resources": {"cpus": 1, "memoryMb": memory, "diskGb": 2}, **fields}
        return str(self.done("POST", "/v1/machines", 201, json=body)["id"])

    def launch(self, **fields: object) -> str:
        machine = self.create(**fields)  # type: ignore[arg-type]
        self.done("POST", f"/v1/machines/{machine}/start")
        return machine

    def run(self, machine: str, command: str) -> str:
        answer = self.done("POST", f"/v1/machines/{machine}/exec", json={"command": ["sh", "-c", command]})
        assert answer["exitCode"] == 0, answer
        return str(answer["stdout"]).strip()

    def get(self, machine: str) -> dict[str, object]:
        return self.done("GET", f"/v1/machines/{machine}")

    def delete(self, machine: str) -> None:
        self.http.delete(f"/v1/machines/{machine}")

    def done(self, method: str, path: str, status: int = 200, **options: object) -> dict[str, object]:
        response = self.http.request(method, path, **options)  # type: ignore[arg-type]
        assert response.status_code == status, (method, path, response.status_code, response.text)
        answer: dict[str, object] = response.json()
        return answer


@pytest.fixture
def api(real_service: Live, tools: str) -> Iterator[Api]:
    """A client of the real service; machines it leaves are deleted, and no trace of them may stay."""
    api = Api(real_service, tools)
    before = traces(real_service.home)
    yield api
    for machine in api.http.get("/v1/machines").json():
        api.delete(machine["id"])
    api.http.close()
    assert left_by_service(real_service.home, before) == before


def pid_of(api: Api, machine: str) -> int:
    entry = journal.read(Paths(api.live.home).machine(MachineId(machine.removeprefix("mach-"))).journal)
    assert entry is not None
    assert entry.process is not None
    return entry.process.pid


def until(condition: object, limit: float) -> None:
    end = time.monotonic() + limit
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_machines_and_a_running_command_survive_the_death_of_the_service(api: Api) -> None:
    machines = [api.launch() for _ in range(5)]
    pids = [pid_of(api, machine) for machine in machines]
    command = "for i in $(seq 1 300); do echo line $i; sleep 0.01; done; seq 1 50000"
    seen, path = b"", f"/v1/machines/{machines[0]}"
    with (
        contextlib.suppress(httpx.HTTPError),
        api.http.stream("POST", f"{path}/exec/stream", json={"command": ["sh", "-c", command]}) as response,
    ):
        running = response.headers["x-hutch-process-id"]
        for data in response.iter_raw():
            seen += data
            if seen.count(b"line") >= 5:
                api.live.kill()
    api.reconnect()
    api.live.start()
    assert [pid_of(api, machine) for machine in machines] == pids
    assert [api.run(machine, "echo up") for machine in machines] == ["up"] * 5
    output = read_all(api, f"{path}/processes/{running}/output")
    wanted = "".join(f"line {i}\n" for i in range(1, 301)) + "".join(f"{i}\n" for i in range(1, 50001))
    assert output == wanted.encode()


def read_all(api: Api, path: str) -> bytes:
    output = b""
    while True:
        page = api.done("GET", path, params={"stdout": len(output), "wait": 20})
        assert page["stdoutOffset"] == len(output), page
        output += base64.b64decode(str(page["stdoutB64"]))
        if page["exit"] is not None:
            return output


def test_a_service_with_spare_processes_leaves_none_of_them(registry: Registry, tools: str, home: Path) -> None:
    """Also after a death: the next service ends those of the former."""
    own = home.parent / "spares"
    live = Live(own, HUTCH_IMAGES_INSECURE_REGISTRIES=registry.host)
    before = {**traces(own), "processes": [], "namespaces": [], "links": []}  # some are made already
    api = Api(live, tools)
    try:
        for turn in range(6):
            machine = api.launch()
            assert api.run(machine, "echo up") == "up"
            api.delete(machine)
            if turn == 3:
                live.kill()
                live.start()
                api.reconnect()
    finally:
        api.http.close()
        live.stop()
    assert traces(own) == before


def test_thirty_machines_of_256_mib_run_at_once(api: Api) -> None:
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(lambda n: api.launch(memory=256, name=f"many-{n}"), range(30)))
        answers = list(pool.map(lambda machine: api.run(machine, "hostname"), machines))
    assert answers == [f"many-{n}" for n in range(30)]
    private = [measure.private_mib(machine.removeprefix("mach-"), api.live.home) for machine in machines]
    assert sum(private) / 30 < 128, private


def test_200_machines_come_and_go_without_a_trace(api: Api) -> None:
    def one(number: int) -> None:
        machine = api.create(name=f"round-{number}")
        assert api.run(machine, f"echo {number}") == str(number)
        api.delete(machine)

    pid = api.live.process.pid
    for number in range(20):
        one(number)
    before = measure.resident_mib(pid), len(os.listdir(f"/proc/{pid}/fd"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(20, 200)))
    assert measure.resident_mib(pid) - before[0] <= 20
    deadline = time.monotonic() + 30  # the last machine's network is removed in the background
    while (descriptors := len(os.listdir(f"/proc/{pid}/fd"))) > before[1] + 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descriptors <= before[1] + 4
    assert not list((api.live.home / "machines").iterdir())


def test_a_file_of_any_size_passes_through_in_flat_memory(api: Api) -> None:
    machine, pid = api.launch(memory=256), api.live.process.pid
    path = f"/v1/machines/{machine}/files/workspace/large"
    block = os.urandom(MIB)
    api.http.put(f"/v1/machines/{machine}/files/workspace/small", content=block).raise_for_status()
    before = measure.resident_mib(pid)
    api.http.put(path, content=itertools.repeat(block, 400)).raise_for_status()
    assert api.run(machine, "wc -c < /workspace/large") == str(400 * MIB)
    total = 0
    with api.http.stream("GET", path) as response:
        for data in response.iter_raw():
            total += len(data)
    assert total == 400 * MIB
    assert measure.resident_mib(pid) - before < 24


def test_a_killed_qemu_is_an_error_with_its_reason_within_a_second(api: Api) -> None:
    machine = api.launch()
    os.kill(pid_of(api, machine), signal.SIGKILL)
    until(lambda: api.get(machine)["state"] == "error", 1)
    assert "QEMU" in str(api.get(machine)["reason"])
    events = api.http.get(f"/v1/machines/{machine}/events").json()
    assert any("died" in event["message"] for event in events)


def test_a_panicking_guest_is_an_error_in_its_own_words(api: Api) -> None:
    machine = api.launch()
    body = {"command": ["sh", "-c", "echo c > /proc/sysrq-trigger"], "background": True}
    api.done("POST", f"/v1/machines/{machine}/exec", json=body)
    until(lambda: api.get(machine)["state"] == "error", 15)
    assert "Kernel panic" in str(api.get(machine)["reason"])


def test_a_machine_is_resized_while_it_runs_and_while_it_sleeps_with_all_it_wrote(api: Api) -> None:
    machine = api.launch()
    api.run(machine, "echo one > /one")
    resize = f"/v1/machines/{machine}/resize"
    api.done("POST", resize, json={"cpus": 2, "memoryMb": 192, "diskGb": 4})
    assert api.get(machine)["state"] == "started"
    api.run(machine, "echo two > /two")
    checkpoint = api.done("POST", f"/v1/machines/{machine}/checkpoints", 201, json={})["id"]
    source = {"type": "checkpoint", "reference": checkpoint}
    copy = str(api.done("POST", "/v1/machines", 201, json={"source": source})["id"])
    api.done("POST", f"/v1/machines/{copy}/resize", json={"cpus": 1})
    for it, cpus in ((machine, "2"), (copy, "1")):
        assert api.run(it, "cat /one /two; nproc").split() == ["one", "two", cpus]
    assert api.done("POST", f"/v1/machines/{copy}/kill")["state"] == "stopped"
    api.delete(copy)
    api.http.delete(f"/v1/checkpoints/{checkpoint}")


def test_a_command_whose_client_hangs_up_is_ended(api: Api) -> None:
    machine = api.launch()
    body = {"command": ["sh", "-c", "echo begun; exec sleep 4711"]}
    with api.http.stream("POST", f"/v1/machines/{machine}/exec/stream", json=body) as response:
        output = response.iter_raw()  # an iterator that is dropped hangs up
        assert b"begun" in next(output)
        until(lambda: api.run(machine, "ps | grep -c 'sleep 471[1]' || true") == "1", 15)
    until(lambda: api.run(machine, "ps | grep -c 'sleep 471[1]' || true") == "0", 15)


def test_a_machine_whose_own_disk_is_full_says_so_and_lives(api: Api) -> None:
    machine = api.launch()
    response = api.http.put(f"/v1/machines/{machine}/files/big", content=itertools.repeat(bytes(MIB), 3000))
    assert response.status_code == 422, response.text
    assert "No space left" in response.text
    assert api.run(machine, "ls / | grep -c big || true") == "0"


def test_an_image_nobody_has_is_refused_in_the_registrys_words_and_leaves_nothing(api: Api) -> None:
    registry = api.image.split("/")[0]
    for reference, words in ((f"{registry}/no/such:tag", "unknown"), ("127.0.0.1:1/a:b", "refused")):
        body = {"source": {"type": "image", "reference": reference}}
        response = api.http.post("/v1/machines", json=body)
        assert response.status_code == 422, response.text
        assert words in response.text
    assert not [path for path in (api.live.home / "images").iterdir() if path.name.startswith(".tmp")]


def test_more_than_the_box_has_is_refused_naming_what_there_is(api: Api) -> None:
    for resources, word in (({"memoryMb": 10**7}, "MiB"), ({"diskGb": 5000}, "GiB")):
        source = {"type": "image", "reference": api.image}
        response = api.http.post("/v1/machines", json={"source": source, "resources": resources})
        assert response.status_code == 422, response.text
        assert word in response.text


def test_a_second_service_on_the_same_home_is_refused(api: Api) -> None:
    import subprocess

    from bench.live import HUTCH

    command = [HUTCH, "up", "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, env=api.live.environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert str(api.live.process.pid) in done.stderr


def test_the_admin_key_is_kept_for_its_owner_alone_and_never_logged(api: Api) -> None:
    config, log = api.live.home / "config.json", api.live.log.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    assert api.live.home.stat().st_mode & 0o777 == 0o700
    for key in (json.loads(config.read_text())["key"], api.live.key):
        assert len(key) > 20
        assert key not in log
