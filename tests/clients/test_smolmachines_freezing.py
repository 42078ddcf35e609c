"""The real smolmachines client (PyPI), unmodified: pause, resume, branch, branch_batch, checkpoint, restore, resize."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from smol import ConnectOptions, ExecOptions, Machine, MachineConfig, ResourceSpec, SmolError


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture
def cloud(service: Service, monkeypatch: pytest.MonkeyPatch) -> ConnectOptions:
    monkeypatch.setenv("NO_PROXY", "*")
    return ConnectOptions(target="cloud", base_url=service.url, api_key=service.key)


def fresh() -> str:
    return f"smol-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def machine(cloud: ConnectOptions) -> Iterator[Machine]:
    """A machine that runs and was asked to be one that can be branched, with a file."""
    wanted = MachineConfig(
        name=fresh(), image="debian", network=True, branchable=True, resources=ResourceSpec(cpus=1, memory_mb=256)
    )
    made = Machine.create(wanted, cloud)
    made.write_file("/workspace/x", b"then")
    yield made
    with contextlib.suppress(SmolError):
        made.delete()


@pytest.fixture
def ended() -> Iterator[Callable[[Machine], Machine]]:
    """Machines given to it are deleted at the end."""
    made: list[Machine] = []

    def end(machine: Machine) -> Machine:
        made.append(machine)
        return machine

    yield end
    for it in made:
        with contextlib.suppress(SmolError):
            it.delete()


@pytest.fixture
def checkpoint(machine: Machine, cloud: ConnectOptions) -> Iterator[str]:
    id = machine.checkpoint().id
    yield id
    with contextlib.suppress(SmolError):
        Machine.delete_checkpoint(id, cloud)


def run_on(machine: Machine) -> int:
    """The pid of a process that goes on."""
    done = machine.exec(["sleep", "100000"], ExecOptions(background=True))
    assert done.pid is not None
    return done.pid


def is_alive(machine: Machine, pid: int) -> bool:
    return machine.exec(["sh", "-c", f"kill -0 {pid}"]).success


def test_a_paused_machine_is_resumed_with_its_processes(machine: Machine) -> None:
    pid = run_on(machine)
    machine.pause()
    assert (machine.state(), machine.ready()) == ("paused", False)
    machine.resume()
    assert (machine.state(), machine.ready()) == ("started", True)
    assert is_alive(machine, pid)
    assert machine.read_file("/workspace/x") == b"then"


def test_a_paused_machine_is_found_again_and_stays_paused(machine: Machine, cloud: ConnectOptions) -> None:
    machine.pause()
    found = Machine.open(machine.name, cloud)
    assert (found.id, found.state()) == (machine.id, "paused")
    (listed,) = [it for it in Machine.list(cloud) if it.id == machine.id]
    assert listed.state == "paused"


def test_a_paused_machine_can_be_stopped_or_deleted(machine: Machine) -> None:
    machine.pause()
    machine.stop()
    assert machine.state() == "stopped"
    machine.start()
    assert machine.read_file("/workspace/x") == b"then"
    machine.pause()
    machine.delete()


def test_a_machine_that_was_asked_to_be_branchable_is(machine: Machine, cloud: ConnectOptions) -> None:
    (listed,) = [it for it in Machine.list(cloud) if it.id == machine.id]
    assert listed.branchable


def test_a_branch_is_a_copy_and_both_go_on(machine: Machine, ended: Callable[[Machine], Machine]) -> None:
    name = fresh()
    child = ended(machine.branch(name, branchable=True))
    assert (child.name, child.state(), child.ready()) == (name, "started", True)
    assert child.id != machine.id
    assert child.read_file("/workspace/x") == b"then"
    child.write_file("/workspace/x", b"other")
    assert machine.read_file("/workspace/x") == b"then"
    assert machine.exec(["echo", "here"]).stdout == "here\n"
    grandchild = ended(child.fork(fresh()))
    assert grandchild.read_file("/workspace/x") == b"other"


@pytest.mark.parametrize("act", ["branch", "checkpoint", "pause and resume"])
def test_a_stream_of_the_source_goes_on_without_a_lost_or_doubled_byte(
    machine: Machine, cloud: ConnectOptions, ended: Callable[[Machine], Machine], act: str
) -> None:
    with machine.exec_stream(["sh", "-c", "for i in $(seq 50); do echo $i; sleep 0.05; done; exit 5"]) as stream:
        told = [next(iter(stream))]
        if act == "branch":
            ended(machine.branch(fresh()))
        elif act == "checkpoint":
            Machine.delete_checkpoint(machine.checkpoint().id, cloud)
        else:
            machine.pause()
            machine.resume()
        told += list(stream)
    assert "".join(it["data"] for it in told[:-1]).split() == [str(number) for number in range(1, 51)]
    assert told[-1] == {"kind": "exit", "exit_code": 5}


def test_a_frozen_source_can_be_branched_again(machine: Machine, ended: Callable[[Machine], Machine]) -> None:
    first = ended(machine.branch(fresh(), freeze_source=True))
    assert machine.state() == "paused"
    second = ended(machine.branch(fresh(), freeze_source=True))
    assert [it.read_file("/workspace/x") for it in (first, second)] == [b"then", b"then"]


def test_a_batch_is_all_of_its_branches(machine: Machine, ended: Callable[[Machine], Machine]) -> None:
    prefix = fresh()
    children = [ended(it) for it in machine.branch_batch(3, name_prefix=prefix)]
    assert [it.name for it in children] == [f"{prefix}-1", f"{prefix}-2", f"{prefix}-3"]
    names = [fresh(), fresh()]
    children += [ended(it) for it in machine.fork_batch(names=names)]
    assert [it.name for it in children[3:]] == names
    assert all(it.ready() and it.read_file("/workspace/x") == b"then" for it in children)
    assert len({it.id for it in children}) == 5


def test_a_batch_that_cannot_be_whole_is_none(machine: Machine, cloud: ConnectOptions) -> None:
    names = [fresh(), machine.name]
    with pytest.raises(SmolError) as caught:
        machine.branch_batch(names=names)
    assert caught.value.status == 409
    assert names[0] not in [it.name for it in Machine.list(cloud)]


def test_a_stopped_machine_cannot_be_branched(machine: Machine) -> None:
    machine.stop()
    with pytest.raises(SmolError) as caught:
        machine.branch(fresh())
    assert caught.value.status == 409


def test_a_checkpoint_is_told_and_listed(machine: Machine, cloud: ConnectOptions) -> None:
    made = machine.checkpoint()
    assert (made.machine_id, made.status, made.arch) == (machine.id, "ready", "x86_64")
    assert (bool(made.id), bool(made.created_at), made.size_bytes >= 0) == (True, True, True)
    assert [it.id for it in machine.checkpoints()] == [made.id]
    assert machine.ready()
    Machine.delete_checkpoint(made.id, cloud)
    assert machine.checkpoints() == []


def test_machines_are_restored_from_a_checkpoint(
    machine: Machine, checkpoint: str, cloud: ConnectOptions, ended: Callable[[Machine], Machine]
) -> None:
    machine.write_file("/workspace/x", b"now")
    name = fresh()
    restored = ended(Machine.restore(checkpoint, name, cloud))
    assert (restored.name, restored.state(), restored.ready()) == (name, "started", True)
    assert restored.read_file("/workspace/x") == b"then"
    opened = ended(Machine.restore_checkpoint(checkpoint, fresh(), cloud, network=True))
    assert restored.info()["network"] == {"mode": "blocked"}
    assert opened.info()["network"] == {"mode": "open"}
    assert machine.read_file("/workspace/x") == b"now"


def test_a_checkpoint_that_is_not_there_is_not_found(cloud: ConnectOptions) -> None:
    for act in (lambda: Machine.restore("ckpt-none", fresh(), cloud), lambda: Machine.delete_checkpoint("none", cloud)):
        with pytest.raises(SmolError) as caught:
            act()
        assert caught.value.code == "NOT_FOUND"


def test_a_disk_grows(machine: Machine) -> None:
    now = machine.resize(storage_gb=30)
    assert (now.cpus, now.memory_mb, now.storage_gb) == (1, 256, 30)
    assert machine.resize(cpus=1, memory_mb=256).storage_gb == 30
    assert machine.ready()


def test_a_running_machine_is_given_more_of_everything_and_runs(machine: Machine) -> None:
    machine.write_file("/workspace/kept", b"kept")
    now = machine.resize(cpus=2, memory_mb=512)
    assert (now.cpus, now.memory_mb) == (2, 512)
    assert machine.ready()
    assert machine.read_file("/workspace/kept") == b"kept"


def test_a_disk_does_not_shrink(machine: Machine) -> None:
    with pytest.raises(SmolError) as caught:
        machine.resize(storage_gb=1)
    assert caught.value.status == 400
