"""From the wire's answers to our nouns. What a guest says is checked here, value by value, and nowhere else."""

from typing import Any

from hutch.host.agent import frames
from hutch.model import errors, guest

_INTEGER_LIMIT = 1 << 63
_TEXT_LIMIT = 64 << 10

SHOWN = 4096
"""Characters of a line that are told."""


class Fields:
    """An object of an answer; every look at it checks the type. A wrong one raises `AgentUnavailable`."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise nonsense("an object")
        self._value: dict[str, Any] = value

    def integer(self, name: str) -> int:
        value = self._value.get(name)
        if type(value) is not int or not 0 <= value < _INTEGER_LIMIT:
            raise nonsense(name)
        return value

    def optional_integer(self, name: str) -> int | None:
        return None if self._value.get(name) is None else self.integer(name)

    def signed(self, name: str) -> int:
        value = self._value.get(name)
        if type(value) is not int or not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            raise nonsense(name)
        return value

    def number(self, name: str) -> float:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _INTEGER_LIMIT:
            raise nonsense(name)
        return float(value)

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
            raise nonsense(name)
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._value.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        value = self._value.get(name)
        if not isinstance(value, bool):
            raise nonsense(name)
        return value

    def fields(self, name: str) -> "Fields":
        return Fields(self._value.get(name))

    def optional_fields(self, name: str) -> "Fields | None":
        return None if self._value.get(name) is None else self.fields(name)

    def items(self, name: str) -> list["Fields"]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise nonsense(name)
        return [Fields(item) for item in value]

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._value.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise nonsense(name)
        return tuple(value)


def listed(body: bytes, limit: int) -> list[Fields]:
    """The list that is an answer's body: at most `limit` objects."""
    try:
        value = frames.parse(body)
    except (ValueError, RecursionError):
        raise nonsense("the body") from None
    if not isinstance(value, list) or len(value) > limit:
        raise nonsense("the body")
    return [Fields(item) for item in value]


def nonsense(what: str) -> errors.AgentUnavailable:
    return errors.AgentUnavailable(f"The guest's agent answers nonsense ({what}).")


def stats(fields: Fields) -> guest.GuestStats:
    return guest.GuestStats(
        uptime=fields.number("uptime"),
        cpu_busy=fields.number("cpu_busy"),
        cpu_total=fields.number("cpu_total"),
        memory_total=fields.integer("memory_total"),
        memory_available=fields.integer("memory_available"),
        disk_total=fields.integer("disk_total"),
        disk_available=fields.integer("disk_available"),
        processes=fields.integer("processes"),
    )


def exit_of(fields: Fields) -> guest.Exit:
    return guest.Exit(
        code=fields.optional_integer("code"),
        signal=fields.optional_integer("signal"),
        timed_out=fields.flag("timed_out"),
    )


def output(fields: Fields, body: bytes) -> guest.Output:
    length, ended = fields.integer("stdout_len"), fields.optional_fields("exit")
    if length + fields.integer("stderr_len") != len(body):
        raise nonsense("stdout_len and stderr_len")
    return guest.Output(
        stdout=body[:length],
        stdout_at=fields.integer("stdout_at"),
        stderr=body[length:],
        stderr_at=fields.integer("stderr_at"),
        exit=exit_of(ended) if ended is not None else None,
    )


def process(fields: Fields) -> guest.ProcessInfo:
    ended = fields.optional_fields("exit")
    return guest.ProcessInfo(
        id=fields.text("p"),
        pid=fields.integer("pid"),
        argv=fields.texts("argv"),
        started_at=fields.integer("started_ms") / 1000,
        stdout_bytes=fields.integer("stdout"),
        stderr_bytes=fields.integer("stderr"),
        exit=exit_of(ended) if ended is not None else None,
    )


def file_stat(fields: Fields) -> guest.FileStat:
    try:
        kind = guest.FileKind(fields.text("kind"))
    except ValueError:
        raise nonsense("kind") from None
    return guest.FileStat(
        path=fields.text("path"),
        kind=kind,
        size=fields.integer("size"),
        mode=fields.integer("mode") & 0o7777,
        uid=fields.integer("uid"),
        gid=fields.integer("gid"),
        modified_at=fields.signed("mtime_ms") / 1000,
        target=fields.optional_text("target"),
    )


def match(fields: Fields) -> guest.Match:
    return guest.Match(fields.text("path"), fields.integer("line"), fields.text("text")[:SHOWN])


def change(fields: Fields) -> guest.Change:
    try:
        kind = guest.ChangeKind(fields.text("kind"))
    except ValueError:
        raise nonsense("kind") from None
    return guest.Change(kind, fields.text("path"), fields.flag("directory"))
