"""Which errors each operation may answer with, for the OpenAPI document: by rule, so that none is forgotten."""

import re
from collections.abc import Iterator
from typing import Any

from hutch.api import openapi

_WAKES = re.compile(r"/(files|watch|stats|processes|services|jobs/\{job\}/output)(/|$)")
"""Reading these starts or wakes the machine, which can fail as a start can."""

_SERVICES = re.compile(r"/services(/|$)")
"""A guest may be without systemd."""


def _statuses(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    yield from (400, 401, 403, 405, 429, 500, 503, 504)
    if "{" in path or path == "/v1/usage":  # whose query names a tenant
        yield 404
    if method != "get" or _WAKES.search(path):
        yield from (404, 409, 422)
    if method != "get" or _SERVICES.search(path):
        yield 501
    if "requestBody" in operation:
        yield 413


def with_errors(paper: dict[str, Any]) -> dict[str, Any]:
    """The document, with every error that operations with a key may answer with."""
    for path, methods in paper["paths"].items():
        for method, operation in methods.items():
            if operation.get("security") == []:
                continue
            told = operation["responses"]
            told.pop("422", None)  # the framework's own form of it, which is not ours
            for code, words in openapi.errors(*sorted(set(_statuses(path, method, operation)))).items():
                told.setdefault(str(code), words)
    return paper
