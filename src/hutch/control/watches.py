"""Trees of files that are watched, by any number of callers: who watch the same share one watch in the guest.

The guest's memory and its agent then hold one watch however many look. Each caller has a queue of its own, so that one
who is slow keeps no other waiting. While a tree is watched its machine is in use.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

from hutch.control import requests
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.records import Entry
from hutch.model import errors
from hutch.model.guest import Change
from hutch.model.ids import MachineId

SYSTEM = tuple(
    f"/{name}"
    for name in (
        *("boot", "dev", "lost+found", "proc", "run", "sys", "usr"),
        *("var/cache", "var/lib", "var/log"),
    )
)
"""What is left out of a watch of `/`: the kernel's files, and the system's own, which are thousands of directories."""

QUEUE = 4096
"""Changes that wait for one caller; with more it is told that some were lost, and its watch ends."""

CHARACTERS = 2**21
"""Of all their paths: a guest may tell of longer ones than there are."""

_Key = tuple[MachineId, str, bool]


class _Queue:
    """What one caller has not been told yet."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._room = CHARACTERS
        self._error: errors.HutchError | None = None
        self._bell = asyncio.Event()

    def put(self, change: Change) -> None:
        if len(self._changes) < QUEUE and len(change.path) <= self._room:
            self._changes.append(change)
            self._room -= len(change.path)
            self._bell.set()
        else:
            self.fail(errors.GuestError("more happened than could be told of: look, and watch it again"))

    def fail(self, error: errors.HutchError) -> None:
        self._error = self._error or error
        self._bell.set()

    async def next(self) -> Change:
        while not self._changes:
            if self._error is not None:
                raise self._error
            self._bell.clear()
            await self._bell.wait()
        change = self._changes.popleft()
        self._room += len(change.path)
        return change


class _Tree:
    """A watch in a guest, and who wants to be told of it."""

    def __init__(self) -> None:
        self.queues: set[_Queue] = set()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    def fail(self, error: errors.HutchError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # nobody may be left to hear of it
        for queue in self.queues:
            queue.fail(error)


class Watches:
    """The watched trees of all machines."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._trees: dict[_Key, _Tree] = {}

    async def watch(
        self, principal: Principal, machine: MachineId, path: str, recursive: bool = True
    ) -> AsyncGenerator[Change | None, None]:
        """What happens in a directory, until it is closed. First comes None: from there on nothing is missed.

        Of `/` what is in `SYSTEM` is left out. Needs `machine:files`; starts or wakes the machine. `GuestNotFound`
        without the directory, also later, when it goes; `GuestError` if there is too much to watch or to tell of;
        `NotRunning` when the machine stands still or ends.
        """
        requests.check_path("path", path)
        key = (machine, "/" + path.strip("/"), recursive)
        entry = self._fleet.entry(principal, machine, "machine:files")
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = _Tree()
            tree.task = asyncio.create_task(self._follow(key, entry, tree))
        queue = _Queue()
        tree.queues.add(queue)
        try:
            await asyncio.shield(tree.opened)
            yield None
            while True:
                yield await queue.next()
        finally:
            tree.queues.discard(queue)
            if not tree.queues:
                self._forget(key, tree)
                assert tree.task is not None
                tree.task.cancel()
                await asyncio.gather(tree.task, return_exceptions=True)

    async def _follow(self, key: _Key, entry: Entry, tree: _Tree) -> None:
        _, path, recursive = key
        error: errors.HutchError = errors.HutchError()
        try:
            async with self._fleet.awake(entry) as id:
                skip = SYSTEM if path == "/" and recursive else ()

                def opened() -> None:
                    if not tree.opened.done():
                        tree.opened.set_result(None)

                its = self._fleet.host.files.watch(id, path, recursive, skip, opened)
                async with contextlib.aclosing(its) as changes:
                    async for change in changes:
                        for queue in tree.queues:
                            queue.put(change)
        except errors.HutchError as found:
            error = found
        finally:
            self._forget(key, tree)
            tree.fail(error)

    def _forget(self, key: _Key, tree: _Tree) -> None:
        if self._trees.get(key) is tree:
            del self._trees[key]
