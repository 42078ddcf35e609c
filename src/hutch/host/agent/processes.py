"""Processes of one guest, over one conversation. They outlive it."""

import itertools

from hutch.host.agent import answers
from hutch.host.agent.conversation import Conversation, Request
from hutch.model import guest

PAGE_LIMIT = 512 << 10  # bytes of one stream in one page
WRITE_CHUNK = 64 << 10  # one blocked process then holds no more of the agent's memory than this
LIST_LIMIT = 2000  # processes; an agent keeps 768
LIST_CHARACTERS = 8 << 20  # of all their arguments; an agent keeps 4 KiB of each
SLACK = 10.0  # seconds an answer may take beyond the wait that was asked for
WRITE_TIMEOUT = 3600.0  # seconds a process may leave its input unread


class Processes:
    """`p` is an id of the caller's choice, 1–64 bytes, unique in the guest."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def start(self, p: str, spec: guest.ProcessSpec, timeout: float = 30.0) -> int:
        """Start it: the pid. `Conflict` if `p` is taken, `GuestNotFound` without program or cwd, `GuestError`."""
        answer = await self._conversation.request("proc.start", start_arguments(p, spec), timeout=timeout)
        return answers.Fields(answer.header["ok"]).integer("pid")

    async def start_and_read(
        self, p: str, spec: guest.ProcessSpec, wait: float, limit: int = PAGE_LIMIT, timeout: float = 30.0
    ) -> tuple[int, guest.Output]:
        """Start it and read its first page, sent in one go: a short command costs one round trip."""
        conversation = self._conversation
        await conversation.place(2, timeout)
        started, page = conversation.begin(
            Request("proc.start", start_arguments(p, spec)), Request("proc.read", read_arguments(p, 0, 0, wait, limit))
        )
        try:
            answer = await conversation.result(started, timeout)
            pid = answers.Fields(answer.header["ok"]).integer("pid")
            answer = await conversation.result(page, wait + SLACK)
        finally:
            page.cancel()
        return pid, answers.output(answers.Fields(answer.header["ok"]), answer.body)

    async def read(self, p: str, stdout_at: int, stderr_at: int, wait: float, limit: int = PAGE_LIMIT) -> guest.Output:
        """Output from these offsets on, waiting up to `wait` seconds for any; all before them counts as received."""
        arguments = read_arguments(p, stdout_at, stderr_at, wait, limit)
        answer = await self._conversation.request("proc.read", arguments, timeout=wait + SLACK)
        return answers.output(answers.Fields(answer.header["ok"]), answer.body)

    async def write(self, p: str, data: bytes, end: bool = False, timeout: float = WRITE_TIMEOUT) -> None:
        """Write all of it to the process's stdin; `end` closes it. `Conflict` if nobody reads any more."""
        view = memoryview(data)
        chunks = [view[at : at + WRITE_CHUNK] for at in range(0, len(view), WRITE_CHUNK)] or [view]
        for chunk, last in zip(chunks, itertools.chain([False] * (len(chunks) - 1), [True]), strict=True):
            arguments = {"p": p, "end": end and last}
            await self._conversation.request("proc.write", arguments, chunk, timeout=timeout)

    async def signal(self, p: str, number: int, timeout: float = 30.0) -> None:
        """Signal its process group; no error if it has ended."""
        await self._conversation.request("proc.signal", {"p": p, "signal": number}, timeout=timeout)

    async def resize(self, p: str, size: guest.TerminalSize, timeout: float = 30.0) -> None:
        """Resize its terminal."""
        arguments = {"p": p, "cols": size.columns, "rows": size.rows}
        await self._conversation.request("proc.resize", arguments, timeout=timeout)

    async def list(self, timeout: float = 30.0) -> list[guest.ProcessInfo]:
        """All the agent knows, oldest first."""
        found: list[guest.ProcessInfo] = []
        after = size = 0
        while True:
            answer = await self._conversation.request("proc.list", {"after": after}, timeout=timeout)
            fields = answers.Fields(answer.header["ok"])
            entries = fields.items("procs")
            numbers = [after, *(entry.integer("n") for entry in entries)]
            if any(number >= later for number, later in itertools.pairwise(numbers)):
                raise answers.nonsense("n")
            page = [answers.process(entry) for entry in entries]
            size += sum(len(word) + 1 for it in page for word in it.argv)
            found += page
            if not fields.flag("more"):
                return found
            if not page or len(found) > LIST_LIMIT or size > LIST_CHARACTERS:
                raise answers.nonsense("procs")
            after = numbers[-1]

    async def forget(self, p: str, timeout: float = 30.0) -> None:
        """Drop it and its output; a running one is killed. `GuestNotFound` if it is not there."""
        await self._conversation.request("proc.forget", {"p": p}, timeout=timeout)

    def forget_soon(self, p: str) -> None:
        """The same, without waiting and without errors."""
        self._conversation.cast("proc.forget", {"p": p})


def start_arguments(p: str, spec: guest.ProcessSpec) -> dict[str, object]:
    """A spec as the wire has it."""
    arguments: dict[str, object] = {"p": p, "argv": spec.argv, "overflow": spec.overflow.value}
    if spec.env:
        arguments["env"] = dict(spec.env)
    if spec.cwd is not None:
        arguments["cwd"] = spec.cwd
    if spec.user is not None:
        arguments["user"] = spec.user
    if spec.timeout is not None:
        arguments["timeout_ms"] = max(1, round(spec.timeout * 1000))
    if spec.terminal is not None:
        arguments["tty"] = {"cols": spec.terminal.columns, "rows": spec.terminal.rows}
    if spec.stdin:
        arguments["stdin"] = True
    return arguments


def read_arguments(p: str, stdout_at: int, stderr_at: int, wait: float, limit: int) -> dict[str, object]:
    wait_ms = max(0, round(wait * 1000))
    return {"p": p, "stdout": stdout_at, "stderr": stderr_at, "limit": min(limit, PAGE_LIMIT), "wait_ms": wait_ms}
