"""Requests and answers: where the service is, the key, and errors as exceptions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from hutch.client import errors, wire

LONG = httpx.Timeout(30, read=None)
"""For what lasts as long as it lasts: a start, a command, a stream."""


class Http:
    """One service, spoken to with one key, over kept connections."""

    def __init__(self, url: str, key: str) -> None:
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self.url = url
        self._client = httpx.Client(base_url=url, headers=self.headers, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer, None if it has no body. `options` are httpx's."""
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise errors.Unreachable(f"{self.url}: {error or type(error).__name__}") from error
        _check(answer)
        return answer.json() if answer.content else None

    def text(self, path: str, **options: Any) -> str:
        """The text of the answer to a GET."""
        with self.stream("GET", path, **options) as answer:
            answer.read()
            return answer.text

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer whose body is read bit by bit; leaving closes the connection, which tells the service."""
        try:
            with self._client.stream(method, path, timeout=LONG, **options) as answer:
                if answer.is_error:
                    answer.read()
                _check(answer)
                yield answer
        except httpx.TransportError as error:
            raise errors.Unreachable(f"{self.url}: {error or type(error).__name__}") from error

    def events(self, answer: httpx.Response) -> Iterator[tuple[str, str]]:
        """The server-sent events of a streamed answer: name and data."""
        events = wire.ServerEvents()
        for line in answer.iter_lines():
            if told := events.feed(line):
                yield told


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        raise errors.of(answer.status_code, answer.text, answer.headers.get("x-request-id"))


def idempotent(key: str | None) -> dict[str, str]:
    """The header with which a request is done once, if there is a key."""
    return {} if key is None else {"idempotency-key": key}


def query(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}
