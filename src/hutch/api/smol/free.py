"""Which requests run commands or are traffic to a port: those are never refused for coming too often.

`hutch.api.limits` counts the others.
"""

import re

_FREE = re.compile(
    r"/v1/machines/[^/]+/(exec(/stream|/interactive)?|code|sessions/[^/]+/exec|processes/[\s\S]+|connect/[\s\S]+|tunnel/[\s\S]+)"
)


def is_free(path: str) -> bool:
    """Whether a request runs a command, goes on with one that runs, or is for a port of the machine. Pure."""
    return _FREE.fullmatch(path) is not None
