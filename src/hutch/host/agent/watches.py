"""What happens in a directory of a guest, over one conversation, pulled page by page."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from hutch.host.agent import answers
from hutch.host.agent.conversation import Conversation
from hutch.model import errors, guest

WAIT = 20.0  # seconds one page is waited for
SLACK = 10.0  # seconds an answer may take beyond that
OPEN_TIMEOUT = 60.0
PAGE_LIMIT = 4096  # changes the agent keeps
PAUSE = 0.05  # seconds after an empty page: a guest that does not wait must not keep us busy


async def watch(
    conversation: Conversation,
    number: int,
    path: str,
    recursive: bool,
    skip: Sequence[str] = (),
    on_open: Callable[[], None] = lambda: None,
) -> AsyncGenerator[guest.Change]:
    """The changes, until it is closed. `GuestNotFound` when the directory goes, `GuestError` when some were lost."""
    try:
        arguments = {"w": number, "path": path, "recursive": recursive, "skip": list(skip)}
        await conversation.request("watch.open", arguments, timeout=OPEN_TIMEOUT)
        on_open()
        reading = {"w": number, "wait_ms": round(WAIT * 1000)}
        while True:
            answer = await conversation.request("watch.read", reading, timeout=WAIT + SLACK)
            changes = [answers.change(entry) for entry in answers.listed(answer.body, PAGE_LIMIT)]
            for change in changes:
                yield change
            if not changes:
                await asyncio.sleep(PAUSE)
            if answers.Fields(answer.header["ok"]).flag("lost"):
                raise errors.GuestError(f"{path}: more happened than could be told of: look, and watch it again")
    finally:
        conversation.cast("watch.close", {"w": number})
