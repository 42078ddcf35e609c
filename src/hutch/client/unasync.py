"""Makes `_sync` of `_async`, so that the two cannot differ: `python src/hutch/client/unasync.py`. A test compares them.

As httpcore does it. Two clients written by hand would be twins to keep equal; one that wraps the other in an event
loop would give every thread of a program a loop.
"""

import re
from pathlib import Path

_WORDS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bwebsockets\.asyncio\b", "websockets.sync"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncHutch\b", "Hutch"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b_async\b", "_sync"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_(\w+)\b", r"iter_\1"),
)

HERE = Path(__file__).parent


def translate(source: str) -> str:
    """A module of `_async` as one of `_sync`. Pure."""
    for pattern, plain in _WORDS:
        source = re.sub(pattern, plain, source)
    return source


def made() -> dict[str, str]:
    """The modules of `_sync` as they should be, by file name."""
    modules = {path.name: translate(path.read_text()) for path in sorted((HERE / "_async").glob("*.py"))}
    modules["__init__.py"] = '"""The client, synchronous: made of `_async` by `unasync`. Do not edit."""\n'
    return modules


def main() -> None:
    """Write them."""
    for name, text in made().items():
        (HERE / "_sync" / name).write_text(text)


if __name__ == "__main__":
    main()
