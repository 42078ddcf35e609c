"""Ids."""

import pytest

from hutch.model import ids


def test_a_new_id_has_the_form_of_one() -> None:
    assert all(ids.is_machine_id(ids.new_machine_id()) for _ in range(100))


def test_no_two_ids_are_the_same() -> None:
    assert len({ids.new_machine_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "a" * 19, "a" * 21, "A" * 20, "mach-" + "a" * 15, "a" * 20 + "\n"])
def test_anything_else_has_not(text: str) -> None:
    assert not ids.is_machine_id(text)
