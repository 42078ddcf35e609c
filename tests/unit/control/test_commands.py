"""What a command may be, and what is kept of its output."""

from collections.abc import Mapping
from typing import Any

import pytest

from hutch.control import commands
from hutch.control.commands import Command, Kept
from hutch.model import errors
from hutch.model.guest import Overflow, TerminalSize


def test_a_line_is_for_a_login_shell() -> None:
    assert commands.make_spec(Command(shell="echo $HOME")).argv == ("sh", "-lc", "echo $HOME")


def test_arguments_are_left_as_they_are() -> None:
    assert commands.make_spec(Command(argv=("a b", ""))).argv == ("a b", "")


@pytest.mark.parametrize(("fields", "has_stdin"), [({}, False), ({"stdin": b""}, True), ({"interactive": True}, True)])
def test_stdin_is_open_only_for_who_has_something_to_say(fields: Mapping[str, Any], has_stdin: bool) -> None:
    assert commands.make_spec(Command(argv=("cat",), **fields)).stdin is has_stdin


def test_only_in_the_background_may_output_be_dropped() -> None:
    assert commands.make_spec(Command(argv=("cat",))).overflow is Overflow.BLOCK
    assert commands.make_spec(Command(argv=("cat",), background=True)).overflow is Overflow.DROP


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either a list of arguments or a line"),
        ({"argv": ("a",), "shell": "a"}, "either a list of arguments or a line"),
        ({"argv": ()}, "command is empty"),
        ({"argv": ("",)}, "command is empty"),
        ({"shell": "  "}, "command is empty"),
        ({"shell": "a\0"}, "NUL"),
        ({"argv": ("a",), "cwd": "relative"}, "cwd 'relative': use an absolute path"),
        ({"argv": ("a",), "env": {"": "x"}}, "env"),
        ({"argv": ("a",), "user": ""}, "user"),
        ({"argv": ("a",), "timeout": 0}, "timeout is 0 s"),
        ({"argv": ("a",), "timeout": -1.5}, "timeout is -1.5 s"),
        ({"argv": ("a",), "timeout": float("nan")}, "timeout is nan s"),
        ({"argv": ("a",), "timeout": float("inf")}, "timeout is inf s"),
        ({"argv": ("a",), "terminal": TerminalSize(0, 10)}, "terminal of 0 × 10"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: Mapping[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        commands.make_spec(Command(**fields))


def test_the_beginning_is_kept_and_it_is_told_that_there_was_more() -> None:
    kept = Kept(5)
    kept.add(b"123")
    kept.add(b"45")
    assert (bytes(kept), kept.is_truncated) == (b"12345", False)
    kept.add(b"6")
    kept.add(b"7")
    assert (bytes(kept), kept.is_truncated) == (b"12345", True)
