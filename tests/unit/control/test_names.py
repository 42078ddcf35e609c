"""Names made here."""

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
