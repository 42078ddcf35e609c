"""What makes two templates the same."""

import dataclasses
import json

import pytest

from hutch.host.qemu.argv import Board
from hutch.host.templates.manifest import Recipe

RECIPE = Recipe("sha256:1", 20, Board("tcg", 1, 256), "qemu64", "7.2.22", "boot")


@pytest.mark.parametrize(
    "change",
    [
        {"image": "sha256:2"},
        {"disk_gib": 10},
        {"board": Board("kvm", 1, 256)},
        {"board": Board("tcg", 2, 256)},
        {"board": Board("tcg", 1, 256, volumes=1)},
        {"cpu_model": "max"},
        {"vmm": "10.0.0"},
        {"boot": "other"},
        {"board_version": 2},
    ],
)
def test_whatever_a_template_depends_on_changes_its_key_and_is_named(change: dict[str, object]) -> None:
    other = dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]
    assert other.key != RECIPE.key
    saved = json.loads(json.dumps(dataclasses.asdict(RECIPE)))
    (difference,) = other.differences(saved)
    assert next(iter(change)) in difference


def test_a_recipe_fits_its_own_manifest() -> None:
    assert RECIPE.differences(json.loads(json.dumps(dataclasses.asdict(RECIPE)))) == []
