"""A sender that keeps what it is given, and proofs that are put there: for tests that are not about HTTP or DNS."""

from collections.abc import Mapping, Sequence
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


class MemoryProofs:
    """What is not put there is not there."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.pages: dict[str, str] = {}

    async def texts(self, name: str) -> Sequence[str]:
        return self.records.get(name, [])

    async def page(self, url: str) -> str:
        if url not in self.pages:
            raise NotSent("it answered 404")
        return self.pages[url]
