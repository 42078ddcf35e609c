"""run and exec."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable

import pytest

from .conftest import HUTCH, LIMIT, Cli

Names = Callable[[], set[str]]


def test_run_passes_outputs_and_exit_code_on_and_leaves_nothing(hutch: Cli, names: Names) -> None:
    before = names()
    done = hutch("run", "debian", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert names() == before


def test_run_takes_what_a_machine_and_a_command_take(hutch: Cli) -> None:
    options = (
        "--name",
        "taker",
        "--cpus",
        "2",
        "--memory",
        "128",
        "--disk",
        "3",
        "-e",
        "A=b",
        "--workdir",
        "/workspace",
        "--keep",
    )
    done = hutch("run", *options, "debian", "--", "sh", "-c", "echo $A; basename $PWD")
    assert done.stdout == b"b\nworkspace\n"
    assert done.stderr == b"kept: taker\n"
    (kept,) = [it for it in json.loads(hutch.text("ps", "--json")) if it["name"] == "taker"]
    assert (kept["cpus"], kept["memory_mb"], kept["disk_gb"], kept["workdir"]) == (2, 128, 3, "/workspace")
    hutch("rm", "taker")


def test_run_without_a_command_runs_the_images_own(hutch: Cli) -> None:
    assert hutch("run", "alpine", stdin=b"echo from $0\nexit 4\n", code=4).stdout == b"from sh\n"


def test_output_is_exact_bytes(hutch: Cli, machine: str) -> None:
    assert hutch("exec", machine, "printf", r"a\r\n\377\000b").stdout == b"a\r\n\xff\0b"


def test_stdin_is_passed_through_when_it_is_no_terminal(hutch: Cli, machine: str) -> None:
    data = os.urandom(5 * 2**20)
    assert hutch("exec", machine, "cat", stdin=data).stdout == data
    assert hutch("exec", machine, "head", "-c", "3", stdin=data).stdout == data[:3]
    assert hutch("exec", machine, "cat").stdout == b""


def test_exec_has_the_commands_code_or_125(hutch: Cli, machine: str) -> None:
    hutch("exec", machine, "false", code=1)
    hutch("exec", machine, "--timeout", "1", "--", "sleep", "1000", code=124)
    hutch("exec", machine, "sh", "-c", "kill -9 $$", code=137)
    hutch("exec", machine, "no-such-program", code=255)
    assert hutch("exec", "no-such-machine", "true", code=125).stdout == b""
    assert b"manifest unknown" in hutch("run", "no/such:image", "--", "true", code=125).stderr


def test_options_behind_the_command_are_its_own(hutch: Cli, machine: str) -> None:
    assert hutch.text("exec", machine, "printf", "%s|", "--user", "--", "-x") == "--user|--|-x|"
    assert hutch.text("exec", "-e", "A=b", machine, "--", "sh", "-c", "echo $A -- $0", "zero") == "b -- zero"
    assert hutch.text("exec", machine, "--shell", "--", "echo $((6*7)) | cat") == "42"


def test_a_background_command_is_left_running_and_listed(hutch: Cli, machine: str) -> None:
    process = hutch.text("exec", "-d", machine, "--", "sleep", "1000")
    (listed,) = json.loads(hutch.text("ps", machine, "--json"))
    assert (listed["id"], listed["command"], listed["exit"]) == (process, ["sleep", "1000"], None)
    assert process in hutch.text("ps", machine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_deletes_its_machine(hutch: Cli, names: Names, number: signal.Signals) -> None:
    process = hutch.spawn("run", "--name", "interrupted", "debian", "--", "sh", "-c", "echo begun; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    assert "interrupted" in names()
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert "interrupted" not in names()


def test_a_reader_that_leaves_ends_the_run(hutch: Cli, names: Names) -> None:
    with hutch.spawn("run", "--name", "pipe", "debian", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(LIMIT) == 141
    assert "pipe" not in names()


def test_a_terminal_gets_progress_and_the_pipe_beside_it_only_data(hutch: Cli) -> None:
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [*HUTCH, "run", "debian", "--", "echo", "x"],
            env={**hutch.environment, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=its,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stdout) == (0, b"x\n")
        assert b"starting" in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(its)
