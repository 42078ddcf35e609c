"""How a command of the CLI fails, and with which exit code."""

from enum import IntEnum


class Code(IntEnum):
    """Exit codes. `run` and `exec` pass the command's own code on and use 125 for everything that is not its."""

    FAILED = 1  # the service said no, or something on this box is not as it must be
    USAGE = 2  # the command line makes no sense
    UNREACHABLE = 3  # no service answers
    NOT_RUN = 125  # run and exec: the command could not be run, or its end is not known
    INTERRUPTED = 130  # Ctrl-C
    READER_LEFT = 141  # run and exec: whoever read our output has closed it


class Failure(Exception):
    """A command cannot go on: one line that says why, and a hint what to do."""

    def __init__(self, message: str, hint: str = "", code: int = Code.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
