"""How a process ended, as a shell tells it."""

import pytest

from hutch.model.guest import Exit


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (Exit(code=0), 0),
        (Exit(code=3), 3),
        (Exit(signal=9), 137),
        (Exit(signal=15), 143),
        (Exit(signal=9, timed_out=True), 124),
        (Exit(code=0, timed_out=True), 124),
    ],
)
def test_an_exit_has_a_shells_code(end: Exit, code: int) -> None:
    assert end.shell_code == code
