"""Files of one guest, over one conversation. Memory stays flat for any size: a few chunks are in flight, no more."""

import asyncio
import builtins
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence

from hutch.host.agent import answers, frames, watches
from hutch.host.agent.conversation import Conversation, Request
from hutch.model import errors, guest

CHUNK = 256 << 10
WINDOW = 4  # chunks of one file in flight
HANDLES = 48  # open at once; the agent has 64
UPLOADS = 32  # chunks of all files in flight: 8 MiB, half of what the agent lets wait
TIMEOUT = 60.0  # seconds one step may take on a slow disk
LIST_LIMIT = 100_000  # entries of one directory
LIST_CHARACTERS = 32 << 20  # of all their paths and targets: a guest may answer names no file system allows
WALKS = 4  # trees looked through at once, as the agent allows
RESULT_LIMIT = 10_000  # of one walk


class Files:
    """Paths are absolute. `GuestNotFound`, `GuestDiskFull`, `Conflict`, `GuestError` carry the path."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._numbers = itertools.count(1)
        self._handles = asyncio.Semaphore(HANDLES)
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._walks = asyncio.Semaphore(WALKS)

    async def read(self, path: str) -> tuple[guest.FileStat, AsyncIterator[bytes]]:
        """A regular file's stat and its bytes, in chunks. Whoever stops iterating lets go of the handle."""
        await self._acquire_handle()
        reading = _Reading(self._conversation, self._handles, next(self._numbers))
        try:
            return await reading.open(path), reading
        except BaseException:
            await reading.aclose()
            raise

    async def write(self, path: str, chunks: AsyncIterable[bytes], mode: int | None = None) -> None:
        """Replace or make a file; it appears whole when all chunks are there, and not at all otherwise."""
        await self._acquire_handle()
        writing = _Writing(self._conversation, self._uploads, next(self._numbers))
        try:
            writing.open(path, mode)
            async for chunk in chunks:
                await writing.add(chunk)
            await writing.commit()
        finally:
            writing.close()
            self._handles.release()

    async def stat(self, path: str, timeout: float = TIMEOUT) -> guest.FileStat:
        """Of the path itself: symlinks are not followed."""
        answer = await self._conversation.request("file.stat", {"path": path}, timeout=timeout)
        return answers.file_stat(answers.Fields(answer.header["ok"]))

    async def list(self, path: str, timeout: float = TIMEOUT) -> list[guest.FileStat]:
        """What a directory holds, by name. Of more than `LIST_LIMIT` entries, `GuestError`."""
        found: list[guest.FileStat] = []
        after, size = "", 0
        while True:
            answer = await self._conversation.request("file.list", {"path": path, "after": after}, timeout=timeout)
            fields = answers.Fields(answer.header["ok"])
            page = [answers.file_stat(entry) for entry in fields.items("entries")]
            found += page
            if not fields.flag("more"):
                return found
            if not page:
                raise answers.nonsense("entries")
            size += sum(len(entry.path) + len(entry.target or "") for entry in page)
            if len(found) > LIST_LIMIT or size > LIST_CHARACTERS:
                raise errors.GuestError(f"{path}: has more than {LIST_LIMIT} entries, or too long names")
            after, before = fields.text("last"), after
            if after <= before:
                raise answers.nonsense("last")

    async def make_directory(self, path: str, mode: int = 0o755, timeout: float = TIMEOUT) -> None:
        """Make it and what is missing above it; no error if it is there."""
        await self._conversation.request("file.mkdir", {"path": path, "mode": mode}, timeout=timeout)

    async def remove(self, path: str, recursive: bool = False, timeout: float = 3600.0) -> None:
        """Remove a file, a symlink, or a directory: an empty one unless `recursive`."""
        await self._conversation.request("file.remove", {"path": path, "recursive": recursive}, timeout=timeout)

    async def rename(self, path: str, to: str, timeout: float = TIMEOUT) -> None:
        """Move it within one file system; a file that is there is replaced."""
        await self._conversation.request("file.rename", {"path": path, "to": to}, timeout=timeout)

    async def change(self, path: str, mode: int | None, owner: str | None, timeout: float = TIMEOUT) -> None:
        """Set permission bits and owner ("user", "user:group", ":group", or numbers). Links are followed."""
        arguments = {"path": path, "mode": None if mode is None else mode & 0o7777, "owner": owner}
        await self._conversation.request("file.change", arguments, timeout=timeout)

    async def find(self, path: str, pattern: str, limit: int) -> builtins.list[guest.FileStat]:
        """Below a directory, what has a name that matches `*`, `?`, `[a-z]`; by path, at most `RESULT_LIMIT`."""
        found = await self._walk("file.find", {"path": path, "pattern": pattern}, limit)
        return [answers.file_stat(entry) for entry in found]

    async def search(self, path: str, text: str, limit: int) -> builtins.list[guest.Match]:
        """The lines of text files that hold this text; at most `RESULT_LIMIT`."""
        found = await self._walk("file.search", {"path": path, "text": text}, limit)
        return [answers.match(entry) for entry in found]

    def watch(
        self, path: str, recursive: bool, skip: Sequence[str] = (), on_open: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[guest.Change]:
        """What happens in a directory, from when the first change is asked for. See `watches`."""
        return watches.watch(self._conversation, next(self._numbers), path, recursive, skip, on_open)

    async def _walk(self, op: str, arguments: dict[str, object], limit: int) -> builtins.list[answers.Fields]:
        limit = max(1, min(limit, RESULT_LIMIT))
        async with _acquired(self._walks, "directories of the machine are being looked through"):
            answer = await self._conversation.request(op, {**arguments, "limit": limit}, timeout=TIMEOUT)
        return answers.listed(answer.body, limit)

    async def _acquire_handle(self) -> None:
        await _acquire(self._handles, "files of the machine are being read or written")


async def _acquire(semaphore: asyncio.Semaphore, what: str) -> None:
    try:
        async with asyncio.timeout(TIMEOUT):
            await semaphore.acquire()
    except TimeoutError:
        raise errors.GuestError(f"Too many {what}.") from None


@contextlib.asynccontextmanager
async def _acquired(semaphore: asyncio.Semaphore, what: str) -> AsyncIterator[None]:
    await _acquire(semaphore, what)
    try:
        yield
    finally:
        semaphore.release()


class _Reading(AsyncIterator[bytes]):
    """A file being read: `WINDOW` chunks are asked for ahead."""

    def __init__(self, conversation: Conversation, handles: asyncio.Semaphore, handle: int) -> None:
        self._conversation = conversation
        self._handles = handles
        self._handle = handle
        self._ahead: deque[asyncio.Future[frames.Frame]] = deque()
        self._is_over = False
        self._is_closed = False

    async def open(self, path: str) -> guest.FileStat:
        await self._conversation.place(2, TIMEOUT)
        opened, first = self._conversation.begin(
            Request("file.open_read", {"h": self._handle, "path": path}),
            Request("file.read", {"h": self._handle, "limit": CHUNK}),
        )
        self._ahead.append(first)
        answer = await self._conversation.result(opened, TIMEOUT)
        return answers.file_stat(answers.Fields(answer.header["ok"]).fields("stat"))

    async def __anext__(self) -> bytes:
        if self._is_over:
            await self.aclose()
            raise StopAsyncIteration
        try:
            answer = await self._conversation.result(self._ahead.popleft(), TIMEOUT)
            self._is_over = answers.Fields(answer.header["ok"]).flag("eof")
            if not self._is_over:
                if not answer.body:
                    raise answers.nonsense("an empty chunk")
                missing = WINDOW - len(self._ahead)
                await self._conversation.place(missing, TIMEOUT)
                request = Request("file.read", {"h": self._handle, "limit": CHUNK})
                self._ahead.extend(self._conversation.begin(*[request] * missing))
        except BaseException:
            await self.aclose()
            raise
        if self._is_over:
            await self.aclose()
            if not answer.body:
                raise StopAsyncIteration
        return answer.body

    async def aclose(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = self._is_over = True
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._handles.release()
        self._conversation.cast("file.close", {"h": self._handle})

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._close()


class _Writing:
    """A file being written: chunks are gathered to `CHUNK` bytes, and the agent's answers trail behind.

    Opening is sent with the first bytes, so that a small file is one round trip.
    """

    def __init__(self, conversation: Conversation, uploads: asyncio.Semaphore, handle: int) -> None:
        self._conversation = conversation
        self._uploads = uploads
        self._handle = handle
        self._gathered = bytearray()
        self._unsent: list[Request] = []
        self._behind: deque[asyncio.Future[frames.Frame]] = deque()
        self._is_committed = False

    def open(self, path: str, mode: int | None) -> None:
        arguments: dict[str, object] = {"h": self._handle, "path": path}
        if mode is not None:
            arguments["mode"] = mode & 0o7777
        self._unsent.append(Request("file.open_write", arguments))

    async def add(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while len(view) > 0:
            part = view[: CHUNK - len(self._gathered)]
            self._gathered += part
            view = view[len(part) :]
            if len(self._gathered) == CHUNK:
                await self._send()

    async def commit(self) -> None:
        await self._send(Request("file.commit", {"h": self._handle}))
        await self._catch_up(0)
        self._is_committed = True

    def close(self) -> None:
        """Let go: what was not committed is removed."""
        for future in self._behind:
            future.cancel()
        if not self._is_committed:
            self._conversation.cast("file.close", {"h": self._handle})

    async def _send(self, *then: Request) -> None:
        await self._catch_up(WINDOW - 1)
        requests = [*self._unsent, *then]
        await self._conversation.place(len(requests) + 1, TIMEOUT)
        if self._gathered:
            await self._uploads.acquire()
            requests.insert(len(self._unsent), Request("file.write", {"h": self._handle}, bytes(self._gathered)))
        try:
            futures = self._conversation.begin(*requests)
        except BaseException:
            if self._gathered:
                self._uploads.release()
            raise
        if self._gathered:
            # Given back when the answer is here, and not when somebody looks at it: who waits for a place holds others.
            futures[len(self._unsent)].add_done_callback(lambda _: self._uploads.release())
        self._gathered.clear()
        self._unsent.clear()
        self._behind.extend(futures)

    async def _catch_up(self, ahead: int) -> None:
        """Wait until no more than so many requests are unanswered."""
        while len(self._behind) > ahead:
            await self._conversation.result(self._behind.popleft(), TIMEOUT)
