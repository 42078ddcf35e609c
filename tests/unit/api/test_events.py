"""Server-sent events, written here and read by our own client."""

import pytest

from hutch.api import events
from hutch.api.smol import exec_stream
from hutch.client import wire
from hutch.control.processes import Stream
from hutch.model.guest import Exit


def read(data: bytes) -> list[tuple[str, str]]:
    reader = wire.ServerEvents()
    return [told for line in data.decode().split("\n") if (told := reader.feed(line))]


@pytest.mark.parametrize(
    "text", ["hello\n", "a\nb", "", "\n\n", " leading", "data: x\n\nevent: exit", ": comment", "é"]
)
def test_any_text_without_carriage_returns_comes_back_whole(text: str) -> None:
    assert read(events.frame("stdout", text)) == [("stdout", text)]


def test_a_trailing_line_end_is_an_empty_data_line() -> None:
    assert events.frame("stdout", "hello\n") == b"event: stdout\ndata: hello\ndata: \n\n"


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["a\r\nb"], "a\nb"),
        (["a\r", "\nb"], "a\nb"),
        (["50%\r", "60%\r"], "50%\n60%\n"),
        (["a\r", "", "\nb"], "a\nb"),
        (["a\r", "b\n"], "a\nb\n"),
        (["\r\r\n"], "\n\n"),
        (["a\r", "\r\n"], "a\n\n"),
        (["a\r", "\n", "\n"], "a\n\n"),
    ],
)
def test_line_ends_become_line_feeds_across_pieces(pieces: list[str], whole: str) -> None:
    cleaner = events.LineEnds()
    assert "".join(cleaner.clean(piece) for piece in pieces) == whole


def test_a_character_cut_in_two_arrives_whole_and_alone_is_replaced() -> None:
    frames = exec_stream.TextFrames()
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert frames.chunk(Stream.STDOUT, first) == b""
    assert read(frames.chunk(Stream.STDERR, b"x")) == [("stderr", "x")]
    assert read(frames.chunk(Stream.STDOUT, second)) == [("stdout", "é")]
    frames.chunk(Stream.STDOUT, first)
    assert read(frames.rest()) == [("stdout", "�")]


def test_exact_frames_carry_any_bytes() -> None:
    ((name, data),) = read(exec_stream.ExactFrames().chunk(Stream.STDERR, bytes(range(256))))
    event = wire.exec_event(name, data)
    assert event == wire.models.Output("stderr", bytes(range(256)))


@pytest.mark.parametrize(
    ("end", "data"),
    [
        (Exit(code=3), '{"exitCode":3}'),
        (Exit(signal=9), '{"exitCode":137,"signal":9}'),
        (Exit(signal=9, timed_out=True), '{"exitCode":124,"signal":9,"timedOut":true}'),
    ],
)
def test_the_last_event_tells_the_exit(end: Exit, data: str) -> None:
    assert read(exec_stream.exit_frame(end)) == [("exit", data)]
