"""Names made here."""

import itertools

from hutch.control import names, requests


def test_every_name_is_one_that_could_be_asked_for() -> None:
    taken: set[str] = set()
    for _ in range(5000):
        name = names.make_name(taken.__contains__)
        requests.check_name(name)
        assert name not in taken
        taken.add(name)


def test_no_word_is_there_twice() -> None:
    words = names.ADJECTIVES + names.ANIMALS
    assert len(set(words)) == len(words)


def test_numbered_names_pass_over_those_that_are_taken_and_are_never_too_long() -> None:
    taken = {"web-1", "web-3"}
    assert list(itertools.islice(names.number("web", taken.__contains__, 63), 3)) == ["web-2", "web-4", "web-5"]
    for name in itertools.islice(names.number("a" * 63, lambda _: False, 63), 200):
        requests.check_name(name)
