"""Lines run in the shell of a terminal: typed as a person would, and told apart from all else that is shown there.

The line itself is in a file; what is typed reads that file, so that neither the terminal's line editing nor its
length matters. Where its output begins and ends, and its exit code, is marked in the terminal's own stream, so that no
byte is told too early or too late, with the sequences by which shells tell terminals of it (OSC 133), which show
nothing. They hold a number that nothing else in the guest is told: what a program prints ends nothing. The end is told
behind the line, or, where that is broken off (^C, an error of syntax, `return`), by the next prompt. For interactive
POSIX shells: bash, dash, busybox. Pure.
"""

import re

HOME = "/run/hutch/t"
"""Where in a guest such files are: in memory, so that nothing stays, and short, so that what is typed fits a line."""

INTERRUPT = b"\x03"

_NAMED = ("sh", "-c", 'shift; exec "$@"', "hutch-terminal")
# A name is in the command that the agent was told to start: only the agent knows which terminals there are.

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

_SCRIPT = """\
case "${{PS1-}}" in *__hutch_run*) ;; *) PS1='$({tell})'"${{PS1-}}" ;; esac
__hutch_run={number}
printf '\\033[A\\r\\033[2K$ %s\\n\\033]133;C;%s\\007' {shown} {number}
{line}
{tell}
unset __hutch_run
"""
_TELL = (
    '{ __hutch_code=$?; [ -z "${__hutch_run-}" ] || '
    'printf "\\033]133;D;%s;%s\\007" "$__hutch_code" "$__hutch_run" >/dev/tty; } 2>/dev/null'
)
# A prompt is expanded in a shell of its own: it tells as long as `__hutch_run` is set.

_SHOWN = 200

KILL = """\
read -r it < /proc/{pid}/stat || exit 0
set -- ${{it##*) }}
[ "$3" = "$6" ] || [ "$6" -le 0 ] || kill -KILL "-$6"
"""
"""Kills what is in the foreground of a terminal, unless that is its shell: fields 5 and 8 of proc(5)'s stat."""


def named(name: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """The same command, started under a name."""
    return (*_NAMED, name, *argv)


def name_of(argv: tuple[str, ...]) -> str | None:
    """Under which name a command was started."""
    head, rest = argv[: len(_NAMED)], argv[len(_NAMED) :]
    return rest[0] if head == _NAMED and rest else None


def unnamed(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command itself."""
    return argv if name_of(argv) is None else argv[len(_NAMED) + 1 :]


_TYPED = ' . "${HUTCH_ROOT-}'


def typed(path: str) -> bytes:
    """What is typed to run a script. HUTCH_ROOT is set where an agent serves a directory of another system."""
    return f'{_TYPED}{path}"\n'.encode()


def is_typed(shown: str) -> bool:
    """Whether a line that was shown is the echo of what was typed."""
    return f"{_TYPED}{HOME}/" in shown


def script(number: str, line: str) -> bytes:
    """What runs a line and marks it with a number."""
    first = line.strip().partition("\n")[0][:_SHOWN]
    shown = "'" + "".join(c if c.isprintable() else "?" for c in first).replace("'", "'\\''") + "'"
    return _SCRIPT.format(tell=_TELL, number=number, shown=shown, line=line).encode()


class Scan:
    """Finds a line's output in what is shown: `feed` it until there is a `code`. The first `limit` bytes are kept."""

    def __init__(self, number: str, limit: int) -> None:
        self.code: int | None = None
        self.has_begun = False
        self.is_truncated = False
        self._limit = limit
        self._begin = f"\x1b]133;C;{number}\x07".encode()
        self._end = re.compile(rb"\x1b\]133;D;([0-9]{1,3});" + number.encode() + rb"\x07")
        self._kept = bytearray()
        self._held = b""  # the end of what came, which may be the beginning of a mark

    def feed(self, data: bytes) -> None:
        """The next of it."""
        data = self._held + data
        if not self.has_begun:
            _, found, rest = data.partition(self._begin)
            if not found:
                self._held = data[-len(self._begin) :]
                return
            self.has_begun, data = True, rest
        end = self._end.search(data)
        if end is not None:
            self.code = int(end[1])
        escape = data.rfind(b"\x1b", max(0, len(data) - len(self._begin) - 4))
        cut = end.start() if end is not None else escape if escape >= 0 else len(data)
        room = self._limit - len(self._kept)
        self._kept += data[: min(cut, room)]
        self.is_truncated = self.is_truncated or cut > room
        self._held = b"" if end is not None else data[cut:]

    def miss(self) -> None:
        """Something was dropped before it could be read."""
        self.has_begun = self.is_truncated = True

    def output(self) -> bytes:
        """Its output, the terminal's line ends turned back into the command's."""
        return bytes(self._kept + self._held).replace(b"\r\n", b"\n") if self.has_begun else b""
