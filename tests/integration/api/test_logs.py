"""The console, as text and as it grows."""

from contextlib import closing

import httpx
import pytest

from .conftest import Machine


def test_the_last_lines_are_told(running: Machine) -> None:
    shown = running.http.get(f"{running.path}/logs")
    assert shown.headers["content-type"].startswith("text/plain")
    assert shown.text.endswith("\n")
    assert running.http.get(f"{running.path}/logs?tail=0").text == ""
    assert running.http.get(f"{running.path}/logs?tail=-1").status_code == 400


def test_following_tells_what_comes_until_it_is_gone(running: Machine) -> None:
    line = running.http.get(f"{running.path}/logs").text
    with running.http.stream("GET", f"{running.path}/logs?follow=true") as answer, closing(answer.iter_text()) as told:
        assert next(told) == line
        running.post("stop")
        running.post("start")
        assert next(told) == line
        running.http.delete(running.path)
        assert "".join(told) == ""


@pytest.mark.parametrize("query", ["", "?follow=true"])
def test_the_console_of_no_machine_is_404(http: httpx.Client, query: str) -> None:
    assert http.get(f"/v1/machines/mach-aaaaaaaaaaaaaaaaaaaa/logs{query}").status_code == 404
