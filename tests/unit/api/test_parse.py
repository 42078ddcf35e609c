"""From smol's requests to what control is asked."""

import json
from typing import TypeVar

import pytest

from hutch.api.smol import parse, present, requests
from hutch.control import machines, pools
from hutch.model import errors
from hutch.model.machine import NetworkMode, Persistence, TimerAction, Timers
from hutch.model.network import PublishedPort

ID = "abcdefghij0123456789"
Body = TypeVar("Body", bound=requests.Body)


def create(**fields: object) -> requests.CreateMachine:
    source = {"source": {"type": "image", "reference": "debian"}}
    return requests.CreateMachine.model_validate_json(json.dumps(source | fields))


def execute(**fields: object) -> requests.Exec:
    return requests.Exec.model_validate_json(json.dumps({"command": "true"} | fields))


@pytest.mark.parametrize(
    ("typed", "ref"),
    [
        (f"mach-{ID}", ID),
        (ID, ID),
        ("mach-short", "mach-short"),
        ("web", "web"),
        (f"mach-mach-{ID}", f"mach-mach-{ID}"),
    ],
)
def test_an_id_is_accepted_with_and_without_its_prefix_and_a_name_stays_a_name(typed: str, ref: str) -> None:
    assert parse.machine_ref(typed) == ref


def test_every_field_that_can_act_reaches_control() -> None:
    wanted = parse.machine_request(
        create(
            name="web",
            resources={"cpus": 2, "memoryMb": 256, "diskGb": 9, "diskDurability": "full"},
            network={"mode": "blocked"},
            env={"A": "b"},
            workdir="/srv",
            command=["serve", "-v"],
            labels={"team": "x"},
            autoStopSeconds=5,
            ttlSeconds=60,
            ephemeral=True,
        )
    )
    assert (wanted.image, wanted.name, wanted.cpus, wanted.memory_mib, wanted.disk_gib) == ("debian", "web", 2, 256, 9)
    assert wanted.network is not None
    assert wanted.network.mode is NetworkMode.BLOCKED
    assert (wanted.env, wanted.workdir, wanted.command, wanted.labels) == (
        {"A": "b"},
        "/srv",
        ("serve", "-v"),
        {"team": "x"},
    )
    assert wanted.timers == Timers(idle=5, lifetime=60)
    assert wanted.persistence is Persistence.EPHEMERAL


def test_what_the_sdk_always_sends_is_accepted() -> None:
    body = create(name=None, resources={"diskGb": None}, autoStopSeconds=None, ttlSeconds=None, forkable=False)
    wanted = parse.machine_request(body)
    assert (wanted.name, wanted.cpus, wanted.disk_gib) == (None, None, None)
    assert wanted.network is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ports", [{"port": 80, "protocol": "udp"}]),
        ("credentials", ["token"]),
        ("cacheDisk", {"cache": "c"}),
        ("source.type", None),
    ],
)
def test_a_field_that_cannot_act_is_refused_by_its_name(field: str, value: object) -> None:
    special = {"source.type": {"source": {"type": "smolmachine", "reference": "x"}}}
    with pytest.raises(errors.Unsupported, match=rf"^{field}: "):
        parse.machine_request(create(**special.get(field, {field: value})))


def test_an_allow_list_is_kept() -> None:
    asked = create(network={"mode": "allowCidrs", "cidrs": ["10.0.0.0/8"], "hosts": ["example.org"]})
    wanted = parse.machine_request(asked).network
    assert wanted is not None
    assert (wanted.mode, wanted.cidrs, wanted.hosts) == (NetworkMode.ALLOW, ("10.0.0.0/8",), ("example.org",))


def test_a_volume_is_mounted_by_its_id_or_name() -> None:
    id = "a1b2c3d4e5f6g7h8i9j0"
    asked = create(
        mounts=[{"volume": f"vol-{id}", "mountPath": "/a"}, {"volume": "d", "mountPath": "/b", "readonly": True}]
    )
    assert parse.machine_request(asked).mounts == (
        machines.MountRequest(id, "/a"),
        machines.MountRequest("d", "/b", readonly=True),
    )


def test_null_is_as_good_as_no_networks_or_hosts() -> None:
    asked = create(network={"mode": "allowCidrs", "cidrs": None, "hosts": ["example.org"]})
    wanted = parse.machine_request(asked).network
    assert wanted is not None
    assert (wanted.cidrs, wanted.hosts) == ((), ("example.org",))


def test_allow_cidrs_without_any_is_a_bad_request_in_the_documented_words() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^allowCidrs network mode requires at least one CIDR or host$"):
        parse.machine_request(create(network={"mode": "allowCidrs"}))


def test_empty_lists_of_what_cannot_act_are_no_request_for_it() -> None:
    assert parse.machine_request(create(mounts=[], ports=[], credentials=[], forkable=None)).image == "debian"


def test_a_string_is_for_the_shell_and_a_list_is_an_argv() -> None:
    assert (parse.command(execute(command="a | b")).shell, parse.command(execute(command="a")).argv) == ("a | b", None)
    assert parse.command(execute(command=["a", "b"])).argv == ("a", "b")
    assert parse.command(execute(command=["a"])).shell is None


def test_stdin_may_be_text_or_exact_bytes_but_not_both() -> None:
    assert parse.command(execute(stdin="é")).stdin == "é".encode()
    assert parse.command(execute(stdinB64="AP8=")).stdin == b"\x00\xff"
    assert parse.command(execute(cwd=None, timeoutSeconds=None, stdin=None)).stdin is None
    with pytest.raises(errors.InvalidRequest, match="exclude each other"):
        parse.command(execute(stdin="x", stdinB64="eA=="))
    with pytest.raises(errors.InvalidRequest, match=r"^stdinB64: "):
        parse.command(execute(stdinB64="!"))


@pytest.mark.parametrize(("language", "interpreter"), [("python", "python3"), ("javascript", "node"), ("node", "node")])
def test_a_program_is_read_by_its_interpreter_from_stdin(language: str, interpreter: str) -> None:
    command = parse.program(requests.Code(language=language, code="1"))
    assert command.argv == (interpreter, "-")
    assert command.stdin == b"1"


def test_an_unknown_language_is_refused_with_those_there_are() -> None:
    with pytest.raises(errors.InvalidRequest, match="supported: python, javascript, node"):
        parse.program(requests.Code(language="cobol", code=""))


def test_label_filters_are_pairs() -> None:
    assert parse.labels(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(errors.InvalidRequest, match="'nonsense' is not of the form name=value"):
        parse.labels(["nonsense"])


@pytest.mark.parametrize("given", [9, "KILL", "SIGKILL", "kill"])
def test_a_signal_has_a_number_and_a_name(given: int | str) -> None:
    assert parse.signal_number(given) == 9


def test_a_signal_that_is_none_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="there is no 'SIGNONE'"):
        parse.signal_number("SIGNONE")


def body(model: type[Body], **fields: object) -> Body:
    return model.model_validate_json(json.dumps(fields))


def test_a_machine_of_a_checkpoint_names_it_by_id_or_name_and_no_image() -> None:
    for reference, meant in ((f"ckpt-{ID}", ID), (ID, ID), ("before", "before")):
        wanted = parse.machine_request(create(source={"type": "checkpoint", "reference": reference}))
        assert (wanted.image, wanted.snapshot) == ("", meant)
    assert parse.machine_request(create()).snapshot is None


def test_every_machine_can_be_branched_asked_for_or_not() -> None:
    for asked in (True, False, None):
        assert parse.machine_request(create(branchable=asked, forkable=asked)) == parse.machine_request(create())


def test_timers_have_actions_of_their_own() -> None:
    wanted = parse.machine_request(
        create(
            autoStopSeconds=5,
            idleAction="suspend",
            ttlSeconds=60,
            lifetimeAction="stop",
            deleteAfterSuspendedSeconds=9,
        )
    )
    assert wanted.timers == Timers(5, TimerAction.SUSPEND, 60, TimerAction.STOP, 9)
    assert parse.machine_request(create(idleAction=None, lifetimeAction=None)).timers == Timers()


@pytest.mark.parametrize(
    ("fields", "persistence", "priority"),
    [
        ({}, Persistence.PERSISTENT, 5),
        ({"ephemeral": True}, Persistence.EPHEMERAL, 5),
        ({"persistence": {"type": "ephemeral"}}, Persistence.EPHEMERAL, 5),
        ({"persistence": {"type": "sticky"}}, Persistence.STICKY, 5),
        ({"persistence": {"type": "sticky", "priority": 0}}, Persistence.STICKY, 0),
        ({"ephemeral": False, "persistence": {"type": "sticky", "priority": 9}}, Persistence.STICKY, 9),
        ({"ephemeral": True, "persistence": {"type": "ephemeral", "priority": None}}, Persistence.EPHEMERAL, 5),
    ],
)
def test_persistence_is_ephemeral_sticky_or_persistent(
    fields: dict[str, object], persistence: Persistence, priority: int
) -> None:
    wanted = parse.machine_request(create(**fields))
    assert (wanted.persistence, wanted.priority) == (persistence, priority)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ephemeral": True, "persistence": {"type": "sticky"}}, "ephemeral and persistence"),
        ({"ephemeral": False, "persistence": {"type": "ephemeral"}}, "ephemeral and persistence"),
        ({"persistence": {"type": "persistent", "priority": 3}}, r"persistence\.priority"),
    ],
)
def test_persistence_that_contradicts_itself_is_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=rf"^{named}"):
        parse.machine_request(create(**fields))


def test_a_branch_is_a_fork_of_one() -> None:
    assert parse.branch(body(requests.Branch)) == machines.ForkRequest()
    sent = body(requests.Branch, name="child", ports=[], branchable=True, freezeSource=True)
    assert parse.branch(sent) == machines.ForkRequest(names=("child",), freeze_source=True)


def test_a_batch_is_a_fork_of_many() -> None:
    assert parse.branch_batch(body(requests.BranchBatch, ports=[], count=8, namePrefix="w")) == machines.ForkRequest(
        count=8, name_prefix="w"
    )
    assert parse.branch_batch(body(requests.BranchBatch, names=["a", "b"])).names == ("a", "b")


def test_a_branch_has_ports_of_its_own_or_those_of_its_source() -> None:
    for model, act in ((requests.Branch, parse.branch), (requests.BranchBatch, parse.branch_batch)):
        asked = act(body(model, ports=[{"port": 80, "hostPort": 8080}]))  # type: ignore[operator]
        assert asked.ports == (PublishedPort(80),)
        assert act(body(model, ports=[])).ports is None  # type: ignore[operator]


def test_ports_are_private_unless_said_otherwise() -> None:
    wanted = parse.machine_request(create(ports=[{"port": 80}, {"port": 81, "public": True, "protocol": "tcp"}]))
    assert wanted.ports == (PublishedPort(80), PublishedPort(81, is_public=True))
    assert (wanted.wakes_on_traffic, wanted.starts_on_traffic) == (True, False)
    other = parse.machine_request(create(wakesOnTraffic=False, startsOnTraffic=True))
    assert (other.wakes_on_traffic, other.starts_on_traffic) == (False, True)


def test_a_network_may_deny_and_limit_too() -> None:
    extra = {"denied": ["192.0.2.0/24"], "kbitPerSecond": 1000, "packetsPerSecond": 100, "burst": 10}
    for mode in ("open", "blocked"):
        wanted = parse.machine_request(create(network={"mode": mode, **extra})).network
        assert (wanted.denied, wanted.kbit_per_second) == (("192.0.2.0/24",), 1000)
        assert (wanted.packets_per_second, wanted.burst) == (100, 10)
        assert present.network(wanted) == {"mode": mode, **extra, "denied": ("192.0.2.0/24",)}


def test_what_is_restored_reaches_nothing_unless_asked_for() -> None:
    plain = parse.restore_request(f"ckpt-{ID}", body(requests.Restore, name="web"))
    assert (plain.snapshot, plain.name, plain.network.mode) == (ID, "web", NetworkMode.BLOCKED)
    opened = parse.restore_request("before", body(requests.Restore, network={"mode": "open"}))
    assert (opened.snapshot, opened.network.mode) == ("before", NetworkMode.OPEN)
    with pytest.raises(errors.Unsupported, match=r"^cacheDisk: "):
        parse.restore_request("before", body(requests.Restore, cacheDisk={"name": "c"}))


def test_a_pool_is_asked_for_in_documented_and_in_native_words() -> None:
    documented = parse.pool_request(
        body(requests.CreatePool, image="debian", cpus=2, memoryMb=256, network=False, targetSize=3)
    )
    native = parse.pool_request(
        body(requests.CreatePool, image="debian", name="p", min=2, max=4, diskGb=9, warmUp=["sync"], maxIdleSecs=0)
    )
    assert (documented.min, documented.max, documented.warm_up) == (3, None, None)
    assert (documented.machine.cpus, documented.machine.memory_mib) == (2, 256)
    assert documented.machine.network.mode is NetworkMode.BLOCKED
    assert (native.name, native.min, native.max, native.machine.disk_gib) == ("p", 2, 4, 9)
    assert native.warm_up == ("sync",)
    assert native.machine.network.mode is NetworkMode.OPEN
    assert parse.pool_request(body(requests.CreatePool, image="debian")).min == pools.PoolRequest(native.machine).min


def test_a_pool_that_says_two_things_or_what_cannot_act_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^targetSize and min"):
        parse.pool_request(body(requests.CreatePool, image="debian", targetSize=1, min=1))
    with pytest.raises(errors.Unsupported, match=r"^maxIdleSecs: "):
        parse.pool_request(body(requests.CreatePool, image="debian", maxIdleSecs=60))


def test_a_claim_chooses_what_its_pool_does_not() -> None:
    wanted = parse.claim_request(body(requests.Claim, name="web", env={"A": "b"}, ttlSeconds=60))
    assert (wanted.image, wanted.name, wanted.env, wanted.timers.lifetime) == ("", "web", {"A": "b"}, 60)
