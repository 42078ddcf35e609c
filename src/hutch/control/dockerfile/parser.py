"""A program of its own: the Dockerfile on stdin as instructions in JSON on stdout, or what is wrong with it.

Not to be imported. The parser is Go code: it cannot be stopped, keeps all other threads of a Python process waiting,
and would end that process with itself. What it says of an error has no line: that is found by trying.
"""

import json
import sys
from typing import Any

import dockerfile


def parse(text: str) -> dict[str, Any]:
    """`{"commands": …}` or `{"error": …, "line": …}`."""
    try:
        return {"commands": [_told(command) for command in dockerfile.parse_string(text)]}
    except (dockerfile.GoParseError, ValueError) as error:
        return {"error": str(error), "line": _line(text.split("\n"), str(error))}


def _told(command: dockerfile.Command) -> dict[str, Any]:
    return {**command._asdict(), "heredocs": [heredoc._asdict() for heredoc in command.heredocs]}


def _line(lines: list[str], error: str) -> int:
    """The last of the shortest beginning that is wrong in the same way."""
    right, wrong = 0, len(lines)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        try:
            dockerfile.parse_string("\n".join(lines[:middle]))
            right = middle
        except (dockerfile.GoParseError, ValueError) as other:
            right, wrong = (right, middle) if str(other) == error else (middle, wrong)
    return max(wrong, 1)


if __name__ == "__main__":
    json.dump(parse(sys.stdin.buffer.read().decode()), sys.stdout)
