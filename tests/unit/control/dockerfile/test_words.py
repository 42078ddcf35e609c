"""Variables in words, as Docker reads them."""

import pytest

from hutch.control.dockerfile import words

ENV = {"A": "1", "EMPTY": "", "LONG": "x" * 1000}


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("$A", "1"),
        ("${A}b", "1b"),
        ("$A_b", ""),
        ("x${A:-z}", "x1"),
        ("${B:-z}", "z"),
        ("${EMPTY:-z}", "z"),
        ("${EMPTY-z}", ""),
        ("${B-z}", "z"),
        ("${A:+q}", "q"),
        ("${B:+q}", ""),
        ("${EMPTY+q}", "q"),
        ("${EMPTY:+q}", ""),
        ("${B:-${A}}", "1"),
        ("${B:-'a b'}", "a b"),
        ("${A:?no}", "1"),
        (r"\$A", "$A"),
        (r"a\ b\c", "a bc"),
        ("'$A'", "$A"),
        ('"$A \\" \\x"', '1 " \\x'),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$1$A", "1"),
        ("", ""),
    ],
)
def test_a_word_means_what_it_means_to_docker(word: str, meant: str) -> None:
    assert words.expand(word, ENV) == meant


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ('"a', "double quote"),
        ("'a", "single quote"),
        ("${A", "not supported"),
        ("${A:-x", "} is missing"),
        ("${}", "without a variable"),
        ("${A#x}", "not supported"),
        ("${B:?is needed}", "B: is needed"),
        ("${a:-" * 10_000, "deep"),
        ("$LONG" * 2000, "grows"),
        ('"' + "$LONG" * 2000 + '"', "grows"),
    ],
)
def test_a_word_that_cannot_be_read_says_why(word: str, why: str) -> None:
    with pytest.raises(words.BadWord, match=why):
        words.expand(word, ENV)


def test_the_escape_may_be_another() -> None:
    assert words.expand(r"C:\$A`$A", ENV, "`") == r"C:\1$A"


def test_a_heredoc_keeps_its_quotes_and_escapes() -> None:
    assert words.expand("""a "$A" '$A' \\$A ${B:-z}\n""", ENV, is_raw=True) == """a "1" '$A' \\$A z\n"""
