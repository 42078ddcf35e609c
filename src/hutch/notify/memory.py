"""A sender that keeps what it is given: for tests that are not about HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass

from hutch.model import errors
from hutch.notify.interface import NotSent


@dataclass(frozen=True, slots=True)
class Message:
    """One that was sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class MemorySender:
    """Answers 200, or what `answers` says next: a status, or why it cannot be reached."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answers: list[int | str] = []

    async def check(self, url: str) -> None:
        if not url.startswith(("http://", "https://")) or "localhost" in url:
            raise errors.InvalidRequest("url may not be reached")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.messages.append(Message(url, dict(headers), body))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, str):
            raise NotSent(answer)
        return answer
