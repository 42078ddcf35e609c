"""The smol dialect's pure parts: consoles that grow, moments, limits, terminals, what is free, what may go wrong."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hutch.api.smol import console, free, tenants, terminals, usage
from hutch.model import errors, keys
from hutch.model.guest import TerminalSize


def test_a_console_that_is_followed_is_text_wherever_it_is_cut() -> None:
    whole, text = "ä\r\nb\rc\r\n".encode(), console.Text()
    assert b"".join(text.add(whole[at : at + 1]) for at in range(len(whole))) == "ä\nb\rc\n".encode()
    assert text.add(b"\xff") == "\ufffd".encode()


def test_the_last_lines_have_plain_ends() -> None:
    assert console.last_lines(b"a\r\nb\r\nc", 2) == b"b\nc"
    assert console.last_lines(b"\xff\n", 5) == "�\n".encode()
    assert console.last_lines(b"a\n", 0) == b""


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (None, None),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T06:00:00Z", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ("2026-11-22T06:00:00 02:00", datetime(2026, 11, 22, 6, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_moment_is_a_date_or_a_time_and_utc_if_it_does_not_say(text: str | None, when: datetime | None) -> None:
    assert usage.moment("from", text) == when


def test_what_is_no_moment_is_named() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^from: 'yesterday' is not"):
        usage.moment("from", "yesterday")


def test_limits_go_both_ways() -> None:
    given = tenants.Limits.model_validate({"machines": 3, "diskGb": 9, "requestsPerSecond": 5, "checkpoints": 2})
    ours = tenants.limits(given)
    assert ours == keys.Limits(machines=3, disk_gib=9, snapshots=2, requests_per_second=5)
    assert tenants.limits(None) is None


@pytest.mark.parametrize(
    ("words", "shell", "argv"), [((), None, None), (("a | b",), "a | b", None), (("a", "b"), None, ("a", "b"))]
)
def test_a_terminals_command(words: tuple[str, ...], shell: str | None, argv: tuple[str, ...] | None) -> None:
    made = terminals.command(terminals.Opening(cmd=words, cols=100, rows=30))
    assert (made.shell, made.argv, made.terminal) == (shell, argv, TerminalSize(100, 30))


@pytest.mark.parametrize(
    ("path", "is_free"),
    [
        ("/v1/machines/m/exec", True),
        ("/v1/machines/m/exec/stream", True),
        ("/v1/machines/m/exec/interactive", True),
        ("/v1/machines/m/code", True),
        ("/v1/machines/m/sessions/s/exec", True),
        ("/v1/machines/m/processes/p/output", True),
        ("/v1/machines/m/sessions", False),
        ("/v1/machines/m/exec/stream/x", False),
        ("/v1/machines", False),
        ("/v1/machines/m/jobs", False),
    ],
)
def test_what_runs_commands_is_never_counted(path: str, is_free: bool) -> None:
    assert free.is_free(path) is is_free
