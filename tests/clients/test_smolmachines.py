"""The real smolmachines client (PyPI), unmodified, against a live service."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from smol import ConnectOptions, ExecOptions, Machine, MachineConfig, ResourceSpec, SmolError
from smol.errors import NotSupportedError

MIB = 2**20


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture(params=["options", "environment"])
def conn(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch) -> ConnectOptions:
    """Both ways the client is pointed at a service."""
    monkeypatch.setenv("NO_PROXY", "*")
    if request.param == "options":
        return ConnectOptions(target="cloud", base_url=service.url, api_key=service.key)
    monkeypatch.setenv("SMOL_CLOUD_URL", f"{service.url}/")
    monkeypatch.setenv("SMOL_CLOUD_TOKEN", service.key)
    return ConnectOptions(target="cloud")


@pytest.fixture
def cloud(service: Service, monkeypatch: pytest.MonkeyPatch) -> ConnectOptions:
    monkeypatch.setenv("NO_PROXY", "*")
    return ConnectOptions(target="cloud", base_url=service.url, api_key=service.key)


def config(**fields: object) -> MachineConfig:
    """A small machine, as a user of the client would ask for it."""
    wanted = {"name": f"smol-{uuid.uuid4().hex[:8]}", "image": "debian", "network": True}
    return MachineConfig(**(wanted | {"resources": ResourceSpec(cpus=1, memory_mb=256)} | fields))  # type: ignore[arg-type]


@pytest.fixture
def machine(cloud: ConnectOptions) -> Iterator[Machine]:
    """A machine that runs."""
    made = Machine.create(config(), cloud)
    yield made
    with contextlib.suppress(SmolError):
        made.delete()


def test_the_whole_day_of_a_machine(conn: ConnectOptions) -> None:
    wanted = config(labels={"made-by": "test"}, env={"APP": "x"}, workdir="/workspace", ttl_seconds=3600)
    made = Machine.create(wanted, conn)
    try:
        assert made.id.startswith("mach-")
        assert (made.name, made.state(), made.ready()) == (wanted.name, "started", True)
        assert made.ready_at()
        done = made.exec(["echo", "hello"], ExecOptions(workdir="/workspace", env={"A": "b"}, timeout=30))
        assert (done.exit_code, done.stdout, done.stderr, done.success) == (0, "hello\n", "", True)
        made.write_file("/workspace/rt.txt", b"data")
        assert made.read_file("/workspace/rt.txt") == b"data"
        assert made.id in [it.id for it in Machine.list(conn)]
        made.stop()
        assert made.state() == "stopped"
        made.start()
        assert made.ready()
        assert made.read_file("/workspace/rt.txt") == b"data"
        assert Machine.connect(wanted.name, conn).id == made.id
        assert Machine.connect(made.id, conn).name == wanted.name
    finally:
        made.delete()
    with pytest.raises(SmolError) as caught:
        Machine.connect(made.id, conn)
    assert caught.value.code == "NOT_FOUND"


def test_a_listed_machine_is_told_as_the_client_reads_it(machine: Machine, cloud: ConnectOptions) -> None:
    (listed,) = [it for it in Machine.list(cloud) if it.id == machine.id]
    assert (listed.name, listed.state, listed.image, listed.persistent) == (machine.name, "started", "debian", True)
    assert listed.resources is not None
    assert (listed.resources.cpus, listed.resources.memory_mib) == (1, 256)
    assert (listed.ports, listed.labels, listed.branchable) == ([], {}, True)
    assert listed.created_at


def test_labels_find_a_machine_again(cloud: ConnectOptions) -> None:
    label = uuid.uuid4().hex
    made = Machine.create(config(labels={"run": label, "a/b": "c d=e"}), cloud)
    try:
        assert [it.id for it in Machine.list(cloud, {"run": label, "a/b": "c d=e"})] == [made.id]
        assert Machine.list(cloud, {"run": label, "a/b": "other"}) == []
    finally:
        made.delete()


def test_exec_tells_both_outputs_and_the_exit_code(machine: Machine) -> None:
    done = machine.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr, done.success) == (3, "out\n", "err\n", False)


def test_exec_takes_env_workdir_stdin_and_user(machine: Machine) -> None:
    options = ExecOptions(env={"A": "b c"}, workdir="/workspace", stdin="from stdin\n", user="root")
    done = machine.exec(["sh", "-c", 'echo "$A"; basename "$PWD"; cat'], options)
    assert done.stdout == "b c\nworkspace\nfrom stdin\n"


def test_exec_bytes_are_exact_and_whole_where_text_is_capped(machine: Machine) -> None:
    done = machine.exec(["sh", "-c", r"printf 'a\377\000b'; head -c 3000000 /dev/zero | tr '\000' x >&2"])
    assert (done.stdout, done.stdout_bytes) == ("a�\0b", b"a\xff\0b")
    assert (len(done.stderr), done.stderr_truncated, len(done.stderr_bytes)) == (MIB, True, 3_000_000)


@pytest.mark.parametrize(
    ("output", "text", "exact"), [("text", "hi", b"hi"), ("b64", "", b"hi"), ("both", "hi", b"hi")]
)
def test_exec_output_families(machine: Machine, output: str, text: str, exact: bytes) -> None:
    done = machine.exec(["printf", "hi"], ExecOptions(output=output))  # type: ignore[arg-type]
    assert (done.stdout, done.stdout_bytes) == (text, exact)


def test_a_timeout_is_124(machine: Machine) -> None:
    assert machine.exec(["sleep", "1000"], ExecOptions(timeout=0.5)).exit_code == 124


def test_a_missing_program_is_255(machine: Machine) -> None:
    done = machine.exec(["no-such-program"])
    assert done.exit_code == 255
    assert "executable file 'no-such-program' not found in $PATH" in done.stderr


def test_a_background_command_has_a_pid_and_runs_on(machine: Machine) -> None:
    done = machine.exec(["sh", "-c", "sleep 1000"], ExecOptions(background=True))
    assert done.exit_code == 0
    assert done.pid is not None
    assert machine.exec(["sh", "-c", f"kill -0 {done.pid}"]).success


def test_exec_stream_tells_output_as_it_comes(machine: Machine) -> None:
    with machine.exec_stream(["sh", "-c", "echo hello; sleep 0.2; echo oops >&2; sleep 0.2; echo é; exit 5"]) as stream:
        told = list(stream)
    assert told == [
        {"kind": "stdout", "data": "hello\n"},
        {"kind": "stderr", "data": "oops\n"},
        {"kind": "stdout", "data": "é\n"},
        {"kind": "exit", "exit_code": 5},
    ]


def test_exec_stream_keeps_blank_lines_and_leading_spaces(machine: Machine) -> None:
    script = "printf '\\n\\n  indented\\ndata: x\\n\\nno end'"
    told = list(machine.exec_stream(["sh", "-c", script]))
    assert "".join(it["data"] for it in told if it["kind"] == "stdout") == "\n\n  indented\ndata: x\n\nno end"


def test_exec_stream_takes_stdin_and_user(machine: Machine) -> None:
    told = list(machine.exec_stream(["cat"], ExecOptions(stdin="x\n", user="root")))
    assert told == [{"kind": "stdout", "data": "x\n"}, {"kind": "exit", "exit_code": 0}]


def test_killing_a_stream_ends_its_command(machine: Machine) -> None:
    with machine.exec_stream(["sh", "-c", "echo $$ ; exec sleep 1000"]) as stream:
        pid = next(iter(stream))["data"].strip()
        stream.kill()
    wait = f"for i in $(seq 100); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    assert machine.exec(["sh", "-c", wait], ExecOptions(timeout=30)).exit_code == 0


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(range(256))])
def test_files_come_back_exactly(machine: Machine, data: bytes) -> None:
    machine.write_file("/workspace/x", data)
    assert machine.read_file("/workspace/x") == data


def test_fifty_mebibytes_come_back_exactly(machine: Machine) -> None:
    data = os.urandom(MIB) * 50
    machine.write_file("/workspace/big", data)
    assert machine.read_file("/workspace/big") == data


@pytest.mark.parametrize("name", ["a b", "ü", "q?", "h#", "100%", "%2F", "a+b&c=d;e", "-rf", "new\nline", "🦫"])
def test_odd_names_are_names(machine: Machine, name: str) -> None:
    machine.write_file(f"/workspace/odd/{name}", name.encode())
    assert machine.read_file(f"/workspace/odd/{name}") == name.encode()
    assert machine.exec(["ls", "-1b", "odd"], ExecOptions(workdir="/workspace")).stdout.count("\n") == 1


def test_a_mode_makes_a_script_executable(machine: Machine) -> None:
    machine.write_file("/workspace/run.sh", "#!/bin/sh\necho ran\n")
    assert machine.exec(["chmod", "755", "run.sh"], ExecOptions(workdir="/workspace")).success
    assert machine.exec(["./run.sh"], ExecOptions(workdir="/workspace")).stdout == "ran\n"


def test_a_missing_file_is_not_found_with_the_servers_words(machine: Machine) -> None:
    with pytest.raises(SmolError) as caught:
        machine.read_file("/workspace/none.txt")
    assert (caught.value.code, caught.value.status) == ("NOT_FOUND", 404)
    assert "file not found: workspace/none.txt" in str(caught.value)
    assert "[request id: " in str(caught.value)


def test_a_wrong_key_is_unauthorized(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(SmolError) as caught:
        Machine.probe(ConnectOptions(target="cloud", base_url=service.url, api_key="smk_wrong"))
    assert (caught.value.code, caught.value.status, caught.value.problem_code) == ("UNAUTHORIZED", 401, "unknown_key")


def test_a_name_that_is_taken_is_409(machine: Machine, cloud: ConnectOptions) -> None:
    with pytest.raises(SmolError) as caught:
        Machine.create(config(name=machine.name), cloud)
    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("SMOLVM_ERROR", 409, False)


def test_an_image_that_cannot_be_had_is_422_and_leaves_nothing(cloud: ConnectOptions) -> None:
    wanted = config(image="127.0.0.1:9/no/such:image")
    with pytest.raises(SmolError) as caught:
        Machine.create(wanted, cloud)
    assert caught.value.status == 422
    assert wanted.name not in [it.name for it in Machine.list(cloud)]


def test_an_allow_list_is_kept_and_a_host_that_cannot_enforce_it_starts_no_such_machine(cloud: ConnectOptions) -> None:
    wanted = config(resources=ResourceSpec(cpus=1, memory_mb=256, allow_cidrs=["10.0.0.0/8"]))
    refused: SmolError | None = None
    try:
        made = Machine.create(wanted, cloud)
    except SmolError as error:
        refused = error
    if refused is not None:
        assert "allow lists need network slots" in str(refused)
        assert wanted.name not in [it.name for it in Machine.list(cloud)]
    else:
        assert made.info()["network"] == {"mode": "allowCidrs", "cidrs": ["10.0.0.0/8"], "hosts": []}
        made.delete()


def test_logs_are_text(machine: Machine) -> None:
    assert isinstance(machine.logs(10), str)


def test_the_client_believes_that_a_user_is_honoured(machine: Machine) -> None:
    try:
        assert machine.exec(["true"], ExecOptions(user="root")).success
    except NotSupportedError as error:  # what the client raises when the answer does not echo the user
        pytest.fail(str(error))


def test_jobs_run_on_and_are_read_and_cancelled(machine: Machine, cloud: ConnectOptions) -> None:
    job = machine.start_job(["sh", "-c", "echo out; echo err >&2; exit 3"])
    done = job.wait(poll_s=0.1, timeout_s=20)
    assert (done.state, done.exit_code) == ("exited", 3)
    assert (job.read_all(), job.read_all("stderr")) == (b"out\n", b"err\n")
    endless = machine.start_job(["sleep", "1000"])
    assert endless.cancel().exit_code == 143
    assert len(machine.jobs()) == 2


def test_usage_is_told_also_by_a_delete(cloud: ConnectOptions) -> None:
    made = Machine.create(config(), cloud)
    report = made.usage()
    assert report.machine_id == made.id
    assert {"totalUptimeSeconds", "cpuHours", "memoryGbHours", "diskGbHours", "egressGb"} <= set(report.usage)
    assert report.cost["amountDueMicros"] == 0
    last = made.delete(include_usage=True)
    assert last is not None
    assert last.usage["totalUptimeSeconds"] >= report.usage["totalUptimeSeconds"]
