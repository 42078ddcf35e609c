"""What is printed, and where."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from hutch.cli import out
from hutch.cli.failure import Failure

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    name: str
    size: int
    at: datetime = NOW


COLUMNS: out.Columns = (("NAME", lambda it: it.name), ("SIZE", lambda it: str(it.size) if it.size else ""))


def test_a_table_in_a_pipe_is_plain_columns_with_heads(capsys: pytest.CaptureFixture[str]) -> None:
    out.table([Row("a", 1), Row("longer", 0)], COLUMNS)
    assert capsys.readouterr().out == "NAME    SIZE\na       1\nlonger  -\n"


def test_an_empty_table_still_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    out.table([], COLUMNS)
    assert capsys.readouterr().out == "NAME  SIZE\n"


def test_json_is_what_the_rows_hold(capsys: pytest.CaptureFixture[str]) -> None:
    out.listing([Row("ä", 1)], COLUMNS, True)
    assert json.loads(capsys.readouterr().out) == [{"name": "ä", "size": 1, "at": "2026-11-22T00:00:00+00:00"}]


def test_a_failure_and_its_hint_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out.complain(Failure("it broke", "mend it"))
    assert capsys.readouterr() == ("", "hutch: it broke\n  hint: mend it\n")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (50 * 2**20, "50 MiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert out.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (200000, "2d")])
def test_ages_are_in_one_unit(seconds: int, text: str) -> None:
    assert out.age(NOW - timedelta(seconds=seconds), NOW) == text
