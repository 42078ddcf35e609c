"""From smol's requests to what control is asked."""

import json

import pytest

from hutch.api.smol import parse, requests
from hutch.model import errors
from hutch.model.machine import NetworkMode, Persistence, Timers

ID = "abcdefghij0123456789"


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
    assert wanted.network.mode is NetworkMode.OPEN


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mounts", [{"volume": "data", "mountPath": "/data"}]),
        ("ports", [{"port": 80}]),
        ("credentials", ["token"]),
        ("cacheDisk", {"cache": "c"}),
        ("branchable", True),
        ("forkable", True),
        ("source.type", None),
        ("network.mode", None),
    ],
)
def test_a_field_that_cannot_act_is_refused_by_its_name(field: str, value: object) -> None:
    special = {
        "source.type": {"source": {"type": "smolmachine", "reference": "x"}},
        "network.mode": {"network": {"mode": "allowCidrs", "hosts": ["example.org"]}},
    }
    with pytest.raises(errors.Unsupported, match=rf"^{field}: "):
        parse.machine_request(create(**special.get(field, {field: value})))


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
