"""Commands, buffered; and programs."""

import base64
from typing import Any

import pytest

from hutch.api.smol import present, responses

from .conftest import Machine


def test_a_command_tells_its_outputs_and_its_exit_code(machine: Machine) -> None:
    answer = machine.post("exec", {"command": "echo hello; echo oops >&2; exit 3"})
    assert answer.headers["content-type"] == "application/json"
    responses.ExecResult.model_validate_json(answer.content)
    result = answer.json()
    assert (result["stdout"], result["stderr"], result["exitCode"]) == ("hello\n", "oops\n", 3)
    assert (result["machineId"], result["stdoutTruncated"], result["stderrTruncated"]) == (machine.id, False, False)
    assert base64.b64decode(result["stdoutB64"]) == b"hello\n"
    assert isinstance(result["durationMs"], int)


def test_a_stopped_machine_is_started_first(machine: Machine) -> None:
    assert machine.look()["state"] == "stopped"
    assert machine.exec("echo up")["stdout"] == "up\n"
    assert machine.look()["ready"]


def test_a_list_is_an_argv_and_no_shell_sees_it(machine: Machine) -> None:
    assert machine.exec(["printf", "%s|", "a b", "$HOME", "*"])["stdout"] == "a b|$HOME|*|"


def test_env_cwd_and_stdin_reach_the_command(machine: Machine) -> None:
    result = machine.exec(
        "echo $MY_VAR; basename $PWD; cat", env={"MY_VAR": "value"}, cwd="/workspace", stdin="input data\n"
    )
    assert result["stdout"] == "value\nworkspace\ninput data\n"


def test_explicit_nulls_are_as_good_as_nothing(machine: Machine) -> None:
    result = machine.exec(["true"], cwd=None, timeoutSeconds=None, stdin=None, user=None, env={}, stream=None)
    assert result["exitCode"] == 0


def test_a_timeout_ends_it_with_124_and_status_200(machine: Machine) -> None:
    result = machine.exec("echo before; sleep 1000", timeoutSeconds=1)
    assert (result["exitCode"], result["stdout"]) == (124, "before\n")
    assert result["durationMs"] < 10_000


def test_a_missing_program_is_255_with_the_agents_words(machine: Machine) -> None:
    result = machine.exec(["no-such-program"])
    assert result["exitCode"] == 255
    assert "executable file 'no-such-program' not found in $PATH: No such file or directory" in result["stderr"]


def test_bytes_that_are_no_text_are_replaced_in_it_and_exact_beside_it(machine: Machine) -> None:
    result = machine.exec(["printf", r"a\377\000b"])
    assert result["stdout"] == "a�\0b"
    assert base64.b64decode(result["stdoutB64"]) == b"a\xff\0b"


@pytest.mark.parametrize(
    ("output", "text", "exact"), [("text", "hi", None), ("b64", "", "aGk="), ("both", "hi", "aGk=")]
)
def test_one_family_of_outputs_can_be_asked_for(machine: Machine, output: str, text: str, exact: str | None) -> None:
    result = machine.post(f"exec?output={output}", {"command": ["printf", "hi"]}).json()
    assert (result["stdout"], result.get("stdoutB64")) == (text, exact)


def test_long_output_is_cut_in_text_and_whole_in_base64(machine: Machine) -> None:
    size = 3 * present.TEXT_LIMIT
    result = machine.exec(f"head -c {size} /dev/zero | tr '\\0' x")
    assert (len(result["stdout"]), result["stdoutTruncated"]) == (present.TEXT_LIMIT, True)
    assert len(base64.b64decode(result["stdoutB64"])) == size
    assert not result["stderrTruncated"]


def test_a_background_command_tells_its_pid_first_and_is_not_waited_for(machine: Machine) -> None:
    result = machine.exec("echo $$ > pid; sleep 1000", background=True)
    assert (result["exitCode"], result["stdout"][:4]) == (0, "pid=")
    assert base64.b64decode(result["stdoutB64"]).decode() == result["stdout"]
    listed = machine.http.get(f"{machine.path}/processes").json()
    assert [it["id"] for it in listed if it["exit"] is None] == [result["processId"]]


def test_the_user_is_echoed_only_if_asked_for(machine: Machine) -> None:
    assert machine.exec(["true"], user="root")["user"] == "root"
    assert "user" not in machine.exec(["true"])


def test_many_at_once_do_not_mix(machine: Machine) -> None:
    import concurrent.futures

    machine.post("start")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda n: machine.exec(f"echo {n}; sleep 0.05; echo {n}")["stdout"], range(48)))
    assert told == [f"{n}\n{n}\n" for n in range(48)]


@pytest.mark.parametrize(
    ("language", "code", "told"),
    [
        ("python", "import sys\nprint(sum(range(100)), file=sys.stderr)\nsys.exit(4)", ("", "4950\n", 4)),
        ("python", "print('é' * 3)\n" + "#" * 300_000, ("ééé\n", "", 0)),
    ],
)
def test_a_program_is_run_by_its_interpreter(machine: Machine, language: str, code: str, told: Any) -> None:
    answer = machine.post("code", {"language": language, "code": code, "env": {"PYTHONIOENCODING": "utf-8"}})
    result = answer.json()
    assert (result["stdout"], result["stderr"], result["exitCode"]) == told


def test_a_missing_interpreter_says_so(machine: Machine) -> None:
    result = machine.post("code", {"language": "node", "code": "1", "env": {"PATH": "/nowhere"}}).json()
    assert result["exitCode"] == 255
    assert "'node' not found" in result["stderr"]
    assert "the image of this machine has no node" in result["stderr"]


def test_an_unknown_language_is_a_400_that_lists_them(machine: Machine) -> None:
    answer = machine.post("code", {"language": "cobol", "code": ""})
    assert answer.status_code == 400
    assert answer.text == "unsupported language: 'cobol' (supported: python, javascript, node)"
