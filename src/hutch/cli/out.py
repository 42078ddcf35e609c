"""What is printed: data to stdout, talk to stderr; tables for people, plain columns and JSON for programs."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from hutch.cli.failure import Failure

Row = TypeVar("Row")
Columns = Sequence[tuple[str, Callable[[Any], str]]]
"""A table's heads, and how each cell is made of a row."""


def is_terminal() -> bool:
    """Whether a person watches: only then is there progress."""
    return sys.stderr.isatty()


def say(text: str) -> None:
    """Talk."""
    print(text, file=sys.stderr, flush=True)


def complain(failure: Failure) -> None:
    """One line that says what went wrong, and one what to do."""
    say(f"hutch: {failure}")
    if failure.hint:
        say(f"  hint: {failure.hint}")


def data(text: str) -> None:
    """Data."""
    print(text, flush=True)


def line(row: object) -> str:
    """A dataclass as JSON on one line."""
    return json.dumps(row, default=_plain, ensure_ascii=False)


def as_json(rows: object) -> None:
    """Dataclasses, or lists of them, as JSON; times in ISO 8601."""
    data(json.dumps(rows, default=_plain, indent=2, ensure_ascii=False))


def one(row: object, text: str, json_wanted: bool) -> None:
    """One thing: all of it as JSON if that is asked for, else what it is called."""
    if json_wanted:
        as_json(row)
    else:
        data(text)


def deleted(id: str, text: str, json_wanted: bool) -> None:
    """Something that is there no more: `{"id", "deleted"}` if JSON is asked for, else what it was called."""
    one({"id": id, "deleted": True}, text, json_wanted)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(rows: Sequence[Row], columns: Columns) -> None:
    """Drawn with Rich on a terminal; in a pipe columns padded with spaces, the heads first."""
    heads = [head for head, _ in columns]
    cells = [[cell(row) or "-" for _, cell in columns] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        drawn = Table(*heads, box=None, header_style="bold", pad_edge=False)
        for line in cells:
            drawn.add_row(*line)
        Console().print(drawn)
        return
    widths = [max(len(line[at]) for line in (heads, *cells)) for at in range(len(heads))]
    for line in (heads, *cells):
        data("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def listing(rows: Sequence[Row], columns: Columns, json_wanted: bool) -> None:
    """A list as asked for."""
    if json_wanted:
        as_json(rows)
    else:
        table(rows, columns)


def single(row: object, columns: Columns, json_wanted: bool) -> None:
    """One thing as asked for: a table of one row, or JSON that is no list."""
    if json_wanted:
        as_json(row)
    else:
        table([row], columns)


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"


def age(since: datetime, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    seconds = max(0, int(((now or datetime.now(UTC)) - since).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
