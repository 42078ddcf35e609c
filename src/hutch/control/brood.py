"""Machines that are made together, all or none: each waits here until all run and all are recorded."""

import asyncio

from hutch.model import errors


class Brood:
    """Of so many; at most `at_once` are made at the same time."""

    def __init__(self, size: int, at_once: int) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._left = size
        loop = asyncio.get_running_loop()
        self._all_run: asyncio.Future[None] = loop.create_future()
        self._recorded: asyncio.Future[None] = loop.create_future()
        for future in (self._all_run, self._recorded):
            future.add_done_callback(_retrieve)

    def note_running(self) -> None:
        """One more of them runs."""
        self._left -= 1
        if self._left == 0 and not self._all_run.done():
            self._all_run.set_result(None)

    def fail(self, error: errors.HutchError) -> None:
        """One of them will not run: none is kept. Too late when all run."""
        if not self._all_run.done():
            self._all_run.set_exception(error)

    def check(self) -> None:
        """Raises why it is given up, if it is."""
        if self._all_run.done():
            self._all_run.result()

    async def wait_all_run(self) -> None:
        """Raises why one of them does not."""
        await asyncio.shield(self._all_run)

    def settle(self, error: errors.HutchError | None) -> None:
        """They are recorded as running, or never will be."""
        if not self._recorded.done():
            if error is None:
                self._recorded.set_result(None)
            else:
                self._recorded.set_exception(error)

    async def wait_recorded(self) -> None:
        """Raises why they are not."""
        await asyncio.shield(self._recorded)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Nobody may be waiting for it."""
    if not future.cancelled():
        future.exception()
