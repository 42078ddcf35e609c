"""The real Nullspace client (PyPI), unmodified, against a live service: a day's work with its Python SDK."""

import contextlib
import gc
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import httpx
import pytest
from nullspace import Machine, Snapshot
from nullspace.errors import AuthError, ConflictError, MachineError, NotFoundError
from nullspace.types import MachineQuery, MachineStatus

MIB = 2**20

pytestmark = [  # the client's own: it leaves sockets open, and opens WebSockets in an older way
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """By service."""
    return {}


@pytest.fixture(params=["/nullspace", ""])
def cloud(
    request: pytest.FixtureRequest, service: Service, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Both places where the dialect is: whole with any key, and at the root with one of its own."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("NULLSPACE_API_URL", service.url + request.param)
    if request.param:
        monkeypatch.setenv("NULLSPACE_API_KEY", service.key)
        return service.url + str(request.param)
    if service.url not in keys:
        headers = {"authorization": f"Bearer {service.key}"}
        made = httpx.post(f"{service.url}/nullspace/v1/keys", json={}, headers=headers, trust_env=False)
        keys[service.url] = made.json()["key"]
    assert keys[service.url].startswith("ns_live_")
    monkeypatch.setenv("NULLSPACE_API_KEY", keys[service.url])
    return service.url


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """What the client leaves open is collected here, where nobody minds."""
    yield
    gc.collect()


@pytest.fixture
def machine(cloud: str) -> Iterator[Machine]:
    made = Machine.create(template="base", timeout=300)
    yield made
    with contextlib.suppress(MachineError):
        made.kill()


def test_a_whole_day(cloud: str) -> None:
    run = uuid.uuid4().hex
    made = Machine.create(
        template="base",
        timeout=600,
        envs={"APP": "x"},
        metadata={"run": run},
        cwd="/workspace",
        on_timeout="pause",
        auto_resume=True,
        inactivity_timeout_ms=600_000,
        auto_delete_after_ms=3_600_000,
    )
    try:
        assert made.id.startswith("mch_")
        info: Any = made.get_info()
        assert (info.status, info.template, info.cwd, info.metadata) == (
            MachineStatus.RUNNING,
            "base",
            "/workspace",
            {"run": run},
        )
        assert (info.config.vcpus, info.config.memory_mb) == (2, 512)
        assert 500_000 < info.remaining_ms <= 600_000
        done: Any = made.commands.run("echo hello")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "hello\n", "")
        assert made.commands.run("echo $APP $PWD | cut -c1-3", shell=True).stdout == "x /\n"  # type: ignore[union-attr]
        made.files.write("/workspace/a.txt", "hi")
        assert made.files.read("/workspace/a.txt") == "hi"
        assert [it.id for it in Machine.list(query=MachineQuery(metadata={"run": run}))] == [made.id]
        snap = made.hibernate()
        assert (snap.id.startswith("snap_"), snap.machine_id) == (True, made.id)
        assert [it.id for it in Machine.list(state="paused", query=MachineQuery(metadata={"run": run}))] == [made.id]
        resumed = Machine.resume(made.id)
        assert resumed.id == made.id
        assert resumed.files.read("/workspace/a.txt") == "hi"
        lease = resumed.set_timeout(900)
        assert lease.remaining_ms is not None
        assert 890_000 < lease.remaining_ms <= 900_000
    finally:
        made.kill()
    with pytest.raises(NotFoundError):
        Machine.get_info_by_id(made.id)


def test_create_with_a_key_makes_one_machine(cloud: str) -> None:
    key, metadata = uuid.uuid4().hex, {"once": uuid.uuid4().hex}
    first = Machine.create(idempotency_key=key, metadata=metadata)
    again = Machine.create(idempotency_key=key, metadata=metadata)
    try:
        assert again.id == first.id
        assert len(list(Machine.list(query=MachineQuery(metadata=metadata)))) == 1
        with pytest.raises(ConflictError):
            Machine.create(idempotency_key=key, metadata={})
    finally:
        first.kill()


def test_streamed_output_comes_as_it_is_written(machine: Machine) -> None:
    out: list[str] = []
    err: list[str] = []
    script = "echo one; echo oops >&2; sleep 0.3; printf 'zw\\303'; sleep 0.2; printf '\\266lf'; exit 5"
    done: Any = machine.commands.run(script, shell=True, on_stdout=out.append, on_stderr=err.append)
    assert (done.exit_code, done.stdout, done.stderr) == (5, "one\nzwölf", "oops\n")
    assert ("".join(out), "".join(err), out[0]) == (done.stdout, done.stderr, "one\n")


def test_much_output_is_whole(machine: Machine) -> None:
    done: Any = machine.commands.run(f"head -c {5 * MIB} /dev/zero | tr '\\0' x", shell=True, on_stdout=lambda _: None)
    assert len(done.stdout) == 5 * MIB


def test_what_takes_too_long_is_an_error(machine: Machine) -> None:
    with pytest.raises(MachineError) as caught:
        machine.commands.run("sleep 1000", shell=True, timeout=1)
    assert caught.value.code == "exec_timeout"


def test_a_background_command_is_followed_left_and_found_again(machine: Machine) -> None:
    script = "echo begun; while read line; do echo got $line; done; exit 7"
    running: Any = machine.commands.run(script, shell=True, background=True, timeout=60)
    assert running.pid in [it.pid for it in machine.commands.list() if it.running]
    heard: list[str] = []
    attached = machine.commands.connect(running.pid, on_stdout=heard.append)
    machine.commands.send_stdin(running.pid, "hello\n")
    until = time.monotonic() + 10
    while "".join(heard) != "begun\ngot hello\n":
        assert time.monotonic() < until, heard
        time.sleep(0.05)
    attached.disconnect()
    assert machine.commands.get_logs(running.pid).stdout == "begun\ngot hello\n"
    running.kill()
    while machine.commands.get_logs(running.pid).exit_code is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert machine.commands.get_logs(running.pid).exit_code == 137


def test_a_live_background_command_is_waited_for(machine: Machine) -> None:
    heard: list[str] = []
    running: Any = machine.commands.run(
        "echo a; sleep 0.2; echo b; exit 3", shell=True, background=True, on_stdout=heard.append
    )
    done = running.wait(timeout=20)
    assert (done.exit_code, "".join(heard)) == (3, "a\nb\n")


def test_files(machine: Machine) -> None:
    files = machine.files
    written = files.write("/workspace/d/one.txt", "one\ntwo\n")
    assert (written.path, written.size, written.is_dir) == ("/workspace/d/one.txt", 8, False)
    assert files.exists("/workspace/d/one.txt")
    assert not files.exists("/workspace/none")
    exact = bytes(range(256)) * 10
    files.write("/workspace/d/exact", exact)
    assert files.read("/workspace/d/exact", format="bytes") == exact
    assert files.make_dir("/workspace/d/sub/deep") in (True, None)
    assert [(it.name, it.type) for it in files.list("/workspace/d")] == [
        ("exact", "file"),
        ("one.txt", "file"),
        ("sub", "dir"),
    ]
    assert [it.name for it in files.list("/workspace/d", depth=2)] == ["exact", "one.txt", "sub", "deep"]
    files.set_permissions("/workspace/d/one.txt", "755")
    assert files.info("/workspace/d/one.txt").mode == "0755"
    assert files.rename("/workspace/d/one.txt", "/workspace/d/1.txt").path == "/workspace/d/1.txt"
    assert [(it.file, it.line, it.content) for it in files.find_files("/workspace/d", "two")] == [
        ("/workspace/d/1.txt", 2, "two")
    ]
    assert files.search_files("/workspace/d", "*.txt") == ["/workspace/d/1.txt"]
    assert files.replace_in_files(["/workspace/d/1.txt"], "two", "2") == 1
    assert files.read("/workspace/d/1.txt") == "one\n2\n"
    several = files.write_files([("/workspace/d/x", "x"), ("/workspace/d/y", b"\xff\r\n")])
    assert [it.path for it in several] == ["/workspace/d/x", "/workspace/d/y"]
    assert files.read("/workspace/d/y", format="bytes") == b"\xff\r\n"
    files.remove("/workspace/d")
    assert not files.exists("/workspace/d")
    with pytest.raises(NotFoundError):
        files.read("/workspace/d/x")


def test_a_directory_is_watched(machine: Machine) -> None:
    machine.files.make_dir("/workspace/w")
    seen: list[tuple[str, str]] = []
    came = threading.Event()

    def note(event: Any) -> None:
        seen.append((event.type, event.path))
        came.set()

    with machine.files.watch_dir("/workspace/w", note):
        time.sleep(0.3)
        machine.files.write("/workspace/w/new", "x")
        assert came.wait(10)
    assert {path for _, path in seen} >= {"/workspace/w/new"}


def test_a_terminal_is_typed_into_left_and_found_again(machine: Machine) -> None:
    session = machine.pty.create_session(cols=100, rows=40, cwd="/workspace")
    assert [it.session_id for it in machine.pty.list_sessions()] == [session.session_id]

    def read_until(session: Any, words: bytes) -> None:
        data = b""
        for chunk in session:
            data += chunk
            if words in data:
                return

    session.send_input("stty -echo; echo read$((40+2))y\n")
    read_until(session, b"read42y")
    machine.pty.resize_session(session.session_id, 90, 30)
    session.disconnect()
    again = machine.pty.connect(session_id=session.session_id)
    again.send_input(b"stty size; exit 4\n")
    data: list[bytes] = []
    assert again.wait(on_data=data.append, timeout=20).exit_code == 4
    assert b"30 90" in b"".join(data)
    assert machine.pty.list_sessions() == []


def test_forks_and_snapshots(machine: Machine) -> None:
    machine.files.write("/workspace/f", "kept")
    snap = machine.create_snapshot()
    copy = machine.fork()
    again = Machine.create(snapshot_id=snap.id)
    try:
        assert {machine.id, copy.id, again.id}.__len__() == 3
        assert (copy.files.read("/workspace/f"), again.files.read("/workspace/f")) == ("kept", "kept")
        assert snap.id in [it.id for it in Snapshot.list(machine_id=machine.id)]
        assert Snapshot.get(snap.id).machine_id == machine.id
    finally:
        copy.kill()
        again.kill()
        Snapshot.delete(snap.id)
    with pytest.raises(NotFoundError):
        Snapshot.get(snap.id)


def test_pages_are_walked(cloud: str) -> None:
    metadata = {"run": uuid.uuid4().hex}
    made = [Machine.create(metadata=metadata) for _ in range(3)]
    try:
        found = [it.id for it in Machine.list(query=MachineQuery(metadata=metadata), limit=2)]
        assert found == [it.id for it in reversed(made)]
        assert Machine.list(query=MachineQuery(metadata=metadata), fields=["id", "status"]) == [
            {"id": it.id, "status": "running"} for it in reversed(made)
        ]
    finally:
        for it in made:
            it.kill()


def test_metrics_and_lifecycle(machine: Machine) -> None:
    (metrics,) = machine.get_metrics()
    assert 0 < metrics.mem_used_bytes <= metrics.mem_total_bytes
    machine.hibernate()
    Machine.resume(machine.id)
    operations = [it.operation.value for it in machine.list_lifecycle(order_asc=True).events]
    assert operations[0] == "create"
    assert operations[-3:] == ["hibernate", "hibernate", "resume_from_snapshot"]


def test_lifecycle_is_told_live(machine: Machine) -> None:
    heard: list[str] = []
    done = threading.Event()

    def listen() -> None:
        for event in machine.stream_events(live_only=True):
            heard.append(f"{event.operation.value} {event.status.value}")
            if heard[-1] == "hibernate succeeded":
                done.set()
                return

    threading.Thread(target=listen, daemon=True).start()
    time.sleep(0.5)
    machine.hibernate()
    assert done.wait(10), heard
    assert heard == ["hibernate requested", "hibernate succeeded"]


def test_a_wrong_key_is_unauthorized(cloud: str) -> None:
    with pytest.raises(AuthError):
        list(Machine.list(api_key="ns_live_wrong"))


def test_what_cannot_be_done_here_says_so(machine: Machine) -> None:
    with pytest.raises(MachineError) as caught:
        machine.create_ssh_access(public_key="ssh-ed25519 AAAA")
    assert caught.value.code == "not_implemented"
