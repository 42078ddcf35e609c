"""Errors have a public message and a private context."""

import pytest

from hutch.model import errors


def test_the_default_message_is_the_docstring() -> None:
    assert errors.UnknownKey().message == "unknown API key"


def test_a_context_is_kept_and_not_shown() -> None:
    error = errors.DiskFull("full", path="/secret")
    assert (error.message, str(error), error.context) == ("full", "full", {"path": "/secret"})


@pytest.mark.parametrize(
    "error", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
)
def test_every_error_says_something_by_itself(error: type[errors.HutchError]) -> None:
    assert error().message
