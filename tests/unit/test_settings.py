"""Settings come from the environment, and every one of them is documented."""

import dataclasses
import typing
from pathlib import Path

import pytest

from hutch import settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def variables() -> list[tuple[str, object]]:
    found = []
    for group in dataclasses.fields(settings.Settings):
        cls = typing.get_type_hints(settings.Settings)[group.name]
        prefix = "HUTCH_" if cls is settings.Service else f"HUTCH_{group.name.upper()}_"
        found += [(prefix + field.name.upper(), getattr(cls(), field.name)) for field in dataclasses.fields(cls)]
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    text = DOCUMENT.read_text()
    for name, default in variables():
        (line,) = [line for line in text.splitlines() if f"`{name}`" in line]
        assert name == "HUTCH_HOME" or not str(default) or f"`{default}`" in line


def test_no_setting_is_documented_that_does_not_exist() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `HUTCH_")]
    assert {line.split("`")[1] for line in lines} == {name for name, _ in variables()}


def test_what_the_environment_says_is_laid_over_the_defaults() -> None:
    loaded = settings.load({"HUTCH_HOME": "/x", "HUTCH_HOST_BOOT_TIMEOUT": "7.5", "HUTCH_MACHINES_DEFAULT_CPUS": "3"})
    assert (loaded.service.home, loaded.host.boot_timeout, loaded.machines.default_cpus) == (Path("/x"), 7.5, 3)


def test_a_value_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"HUTCH_MACHINES_DEFAULT_CPUS='many'"):
        settings.load({"HUTCH_MACHINES_DEFAULT_CPUS": "many"})
