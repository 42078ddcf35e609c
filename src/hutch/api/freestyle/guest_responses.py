"""What the freestyle dialect answers about the inside of a VM, for the OpenAPI document and for tests."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from hutch.api.freestyle.responses import Answer


class ExecAwaited(Answer):
    """A command that has ended, with what it wrote."""

    stdout: str
    stderr: str
    status_code: int


class FileContent(Answer):
    """A file; base64 where it is not UTF-8."""

    content: str
    encoding: Literal["utf8", "base64"]


class FileInfo(Answer):
    """A name in a directory."""

    name: str
    kind: Literal["file", "directory"]


class Directory(Answer):
    """What a directory holds."""

    files: list[FileInfo]


class FileChange(Answer):
    """A line of a watch: something that happened to a file."""

    event_type: Literal["create", "modify", "delete", "rename", "chmod"]
    filename: str = Field(description="Its absolute path.")


class Stats(Answer):
    """A line of a stream: how a VM fares, as its own kernel says."""

    cpu_percent: float = Field(description="Of all its vCPUs, 0 to 100, since the line before.")
    memory_total_bytes: int
    memory_used_bytes: int
    memory_available_bytes: int
    timestamp: datetime


class Terminal(Answer):
    """A terminal."""

    name: str
    status: Literal["running", "exited"]
    created: datetime


class Terminals(Answer):
    """All of a VM's."""

    terminals: list[Terminal]


class LogEntry(Answer):
    """A line of plain text, and when it came, if that is known."""

    line: str
    timestamp: datetime | None


class TerminalLogs(Answer):
    """The lines a terminal has shown, the oldest first."""

    logs: list[LogEntry]


class TerminalOutput(Answer):
    """What a terminal has shown, as another one can show it again."""

    output: str


class PtySession(Answer):
    """A terminal, as those who join it are told of it."""

    session_id: str
    running: bool
    exit_code: int | None
    cols: int
    rows: int
    exec: str | None
    created_at_ms: int
    attached_count: int


class PtySessions(Answer):
    """All of a VM's."""

    sessions: list[PtySession]


class ClosedPty(Answer):
    """A terminal that has ended."""

    session_id: str
    exit_code: int | None


class Service(Answer):
    """A service's name."""

    name: str


class Services(Answer):
    """The services that were made through this service."""

    services: list[Service]


class CreatedService(Answer):
    """A service that was made."""

    success: bool
    message: str
    service_name: str


class DeletedService(Answer):
    """A service that is gone."""

    success: bool
    message: str


class ServiceStatus(Answer):
    """A service, in systemd's words."""

    name: str
    active_state: str
    sub_state: str
    load_state: str
    description: str


class JournalItem(Answer):
    """A line of the journal."""

    message: str
    timestamp: datetime
    priority: str | None
    unit: str | None


class Journal(Answer):
    """The last lines, the oldest first."""

    logs: list[JournalItem]


class BatchItem(Answer):
    """What became of one service."""

    service_id: str
    success: bool
    message: str


class Batch(Answer):
    """What became of each."""

    results: list[BatchItem]
