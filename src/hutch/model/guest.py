"""What can be asked of a guest through its agent: processes and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Overflow(StrEnum):
    """What happens when a process has written more than the agent may keep and nobody has read it."""

    BLOCK = "block"  # the process waits, as on a full pipe: nothing is ever lost
    DROP = "drop"  # the oldest output goes: the process never waits


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """A pseudo-terminal's size in characters."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to start in a guest.

    `env` is laid over the image's and the machine's. `cwd` and `user` None mean the machine's workdir and
    the image's user. `timeout` is in seconds; when it is over the whole process group is killed and the exit says so.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout: float | None = None
    terminal: TerminalSize | None = None  # stdout and stderr are then one stream, told as stdout
    stdin: bool = False  # False: the process reads end of file at once
    overflow: Overflow = Overflow.BLOCK


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: a code, or the number of the signal that killed it."""

    code: int | None = None
    signal: int | None = None
    timed_out: bool = False

    @property
    def shell_code(self) -> int:
        """As a shell would tell it: 124 after a timeout, 128 + n after a signal, else the code."""
        if self.timed_out:
            return 124
        return self.code if self.code is not None else 128 + (self.signal or 0)


@dataclass(frozen=True, slots=True)
class Output:
    """One page of a process's output, read at two offsets (bytes since the process began).

    `stdout_at` and `stderr_at` are where the bytes really begin: later than asked if the oldest were dropped.
    `exit` is told only together with the last bytes of both streams.
    """

    stdout: bytes
    stdout_at: int
    stderr: bytes
    stderr_at: int
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process the agent knows, running or ended."""

    id: str
    pid: int
    argv: tuple[str, ...]
    started_at: float  # Unix seconds, by the guest's clock
    stdout_bytes: int
    stderr_bytes: int
    exit: Exit | None = None


class FileKind(StrEnum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FileStat:
    """A path in a guest. `mode` holds the permission bits only; `modified_at` is Unix seconds."""

    path: str
    kind: FileKind
    size: int
    mode: int
    uid: int
    gid: int
    modified_at: float
    target: str | None = None  # of a symlink


@dataclass(frozen=True, slots=True)
class GuestStats:
    """What the guest's kernel says of itself. Bytes, seconds; `cpu_*` are seconds of all vCPUs since boot."""

    uptime: float
    cpu_busy: float
    cpu_total: float
    memory_total: int
    memory_available: int
    disk_total: int
    disk_available: int
    processes: int


@dataclass(frozen=True, slots=True)
class Match:
    """A line of a file that holds what was searched for."""

    path: str
    line: int  # from 1
    text: str  # the line, cut at 4096 characters


class ChangeKind(StrEnum):
    """What happened to a file."""

    CREATED = "created"
    WRITTEN = "written"
    REMOVED = "removed"
    RENAMED = "renamed"  # away or in: `path` is where it is now, or was
    CHANGED = "changed"  # permissions, owner, times


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened below a watched directory."""

    kind: ChangeKind
    path: str
    is_directory: bool = False
