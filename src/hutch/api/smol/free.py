"""Which requests run commands: those are never refused for coming too often. `hutch.api.limits` counts the others."""

import re

_FREE = re.compile(r"/v1/machines/[^/]+/(exec(/stream|/interactive)?|code|sessions/[^/]+/exec|processes/[\s\S]+)")


def is_free(path: str) -> bool:
    """Whether a request runs a command, or goes on with one that runs. Pure."""
    return _FREE.fullmatch(path) is not None
