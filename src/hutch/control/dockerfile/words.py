"""Variables in the words of an instruction, as Docker reads them: `$A`, `${A}`, `${A:-word}`, quotes and escapes. Pure.

Facts: github.com/moby/buildkit/frontend/dockerfile/shell (lex.go). What it knows besides, `${A#pattern}` and the like,
is refused.
"""

import string
from collections.abc import Mapping

DEEPEST = 32
"""How deep `${A:-${B:-…}}` may go."""

LARGEST = 1024 * 1024
"""Characters of variables' values in one word."""

_FIRST = set(string.ascii_letters + "_")
_NAME = _FIRST | set(string.digits)
_SPECIAL = set("@*#?-$!0")


class BadWord(ValueError):
    """A word that cannot be read; the message says why."""


def expand(word: str, env: Mapping[str, str], escape: str = "\\", *, is_raw: bool = False) -> str:
    """The word with its variables' values, without quotes and escapes. `is_raw` keeps those (heredocs)."""
    return _Reader(word, env, escape, is_raw).read()


class _Reader:
    def __init__(self, word: str, env: Mapping[str, str], escape: str, is_raw: bool) -> None:
        self._word = word
        self._env = env
        self._escape = escape
        self._is_raw = is_raw
        self._at = 0
        self._grown = 0

    def read(self) -> str:
        return self._until("", 0)

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._word[self._at - 1 : self._at]

    def _until(self, stop: str, depth: int) -> str:
        if depth > DEEPEST:
            raise BadWord(f"variables within variables, more than {DEEPEST} deep")
        out: list[str] = []
        while (char := self._next()) and char != stop:
            if char == "'":
                out.append(self._single())
            elif char == '"':
                out.append(self._double(depth))
            elif char == "$":
                out.append(self._variable(depth))
            elif char == self._escape:
                out.append((char if self._is_raw else "") + self._next())
            else:
                out.append(char)
        if stop and not char:
            raise BadWord(f"a {stop} is missing")
        return "".join(out)

    def _single(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise BadWord("a single quote is not closed")
        inside, self._at = self._word[self._at : end], end + 1
        return f"'{inside}'" if self._is_raw else inside

    def _double(self, depth: int) -> str:
        out: list[str] = []
        while (char := self._next()) != '"':
            if not char:
                raise BadWord("a double quote is not closed")
            if char == "$":
                out.append(self._variable(depth))
            elif char == self._escape and (self._peek() in ('"', "$", self._escape)):
                out.append((char if self._is_raw else "") + self._next())
            else:
                out.append(char)
        text = "".join(out)
        return f'"{text}"' if self._is_raw else text

    def _variable(self, depth: int) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._next()
        name = self._name()
        if not name:
            raise BadWord("${…} without a variable's name")
        operator = self._next()
        if operator == "}":
            return self._value(name)
        is_empty_unset = operator == ":"
        if is_empty_unset:
            operator = self._next()
        if operator not in ("-", "+", "?"):
            raise BadWord(f"${{{name}{':' if is_empty_unset else ''}{operator}…}} is not supported: use :-, :+ or :?")
        word = self._until("}", depth + 1)
        has = bool(self._env.get(name)) if is_empty_unset else name in self._env
        match operator:
            case "-":
                return self._value(name) if has else word
            case "+":
                return word if has else ""
        if not has:
            raise BadWord(f"{name}: {word or 'it is not set'}")
        return self._value(name)

    def _value(self, name: str) -> str:
        value = self._env.get(name, "")
        self._grown += len(value)
        if self._grown > LARGEST:
            raise BadWord(f"it grows to more than {LARGEST} characters")
        return value

    def _name(self) -> str:
        first = self._peek()
        if first in _FIRST:
            start = self._at
            while self._peek() and self._peek() in _NAME:
                self._at += 1
            return self._word[start : self._at]
        if first.isdecimal() and first.isascii():
            start = self._at
            while self._peek().isdecimal() and self._peek().isascii():
                self._at += 1
            return self._word[start : self._at]
        return self._next() if first in _SPECIAL else ""
