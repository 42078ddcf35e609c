"""The one place that runs a command: what it promises about ends, groups, output and environment."""

import asyncio
import os
from pathlib import Path

import pytest

from hutch import commands


async def test_a_command_gives_its_output_and_code() -> None:
    done = await commands.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10, check=False)
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", "err")


async def test_a_failing_command_raises_with_the_end_of_what_it_said() -> None:
    with pytest.raises(commands.CommandFailed, match="sh failed with code 2") as caught:
        await commands.run(["sh", "-c", "echo the reason >&2; exit 2"], timeout=10)
    assert caught.value.stderr == "the reason"


async def test_nothing_of_our_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_SECRET", "s")
    done = await commands.run(["env"], timeout=10, env={"GIVEN": "1"})
    names = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "LANG", "HOME", "GIVEN"}


async def test_only_the_descriptors_that_were_given_are_inherited(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given")
    with (tmp_path / "given").open() as given, (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), False)
        words = ["sh", "-c", f"cat /proc/self/fd/{given.fileno()}; ls /proc/self/fd/{other.fileno()}"]
        done = await commands.run(words, timeout=10, descriptors=(given.fileno(),), check=False)
    assert (done.stdout, done.code) == (b"given", 2)


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(commands.CommandMissing, match="no-such-tool is not installed"):
        await commands.run(["no-such-tool"], timeout=10)


async def test_when_time_is_up_the_whole_group_is_gone(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(commands.CommandTimedOut, match="did not end within"):
        await commands.run(["sh", "-c", f"sleep 100 & echo $$ $! >{pids}; wait"], timeout=1)
    await _gone(*map(int, pids.read_text().split()))


async def test_a_cancelled_caller_leaves_no_process(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(
        commands.run(["sh", "-c", f"sleep 100 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait"], timeout=100)
    )
    async with asyncio.timeout(10):
        while not pids.exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(*map(int, pids.read_text().split()))


async def test_too_much_output_is_an_error_and_never_a_silent_cut() -> None:
    with pytest.raises(commands.CommandFailed, match="over 1000 bytes"):
        await commands.run(["yes"], timeout=10, limits=commands.Limits(output=1000))


async def test_stderr_is_told_line_by_line_and_only_its_end_is_kept() -> None:
    lines: list[str] = []
    done = await commands.run(
        ["sh", "-c", r"printf '1%%\r2%%\n' >&2; yes | head -c 200000 >&2"], timeout=10, on_stderr_line=lines.append
    )
    assert lines[:2] == ["1%", "2%"]
    assert len(done.stderr) <= commands.STDERR_KEPT


async def test_stdin_is_fed_and_a_command_that_does_not_read_it_is_fine() -> None:
    big = b"x" * 1_000_000
    assert (await commands.run(["wc", "-c"], timeout=10, stdin=big)).stdout == b"1000000\n"
    await commands.run(["true"], timeout=10, stdin=big)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_a_command_of_another_user_has_no_privilege_left() -> None:
    done = await commands.run(["cat", "/proc/self/status"], timeout=10, user=commands.User(65534, 65534))
    status = dict(line.split(":", 1) for line in done.stdout.decode().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"].strip() == "1"


async def test_no_file_may_grow_beyond_its_limit(tmp_path: Path) -> None:
    with pytest.raises(commands.CommandFailed):
        await commands.run(
            ["dd", "if=/dev/zero", f"of={tmp_path}/f", "bs=1M", "count=2"],
            timeout=10,
            limits=commands.Limits(file_size=1 << 20),
        )
    assert (tmp_path / "f").stat().st_size == 1 << 20


async def _gone(*pids: int) -> None:
    """Killed orphans are reaped by init a moment later; a zombie counts as gone."""
    async with asyncio.timeout(10):
        while any(_lives(pid) for pid in pids):
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
