"""What takes long, shown to a person: only on a terminal, only on stderr, and gone when it is over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hutch.cli import out

Tell = Callable[[str, float | None], None]
"""What is going on, and how much of it is done (0–1) if that is known."""


def _silent(_: str, __: float | None) -> None:
    pass


@contextmanager
def shown(what: str) -> Iterator[Tell]:
    """A line with a spinner and, where a fraction is known, a bar. Silent in a pipe."""
    if not out.is_terminal():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    parts = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(what, total=None)

        def tell(phase: str, fraction: float | None) -> None:
            drawn.update(task, description=phase or what, total=1 if fraction is not None else None)
            drawn.update(task, completed=fraction or 0)

        yield tell


@contextmanager
def polled(what: str, look: Callable[[Tell], None], every: float = 0.5) -> Iterator[None]:
    """As `shown`, told by calling `look` again and again beside the work."""
    with shown(what) as tell:
        if tell is _silent:
            yield
            return
        over = threading.Event()

        def keep_looking() -> None:
            while not over.wait(every):
                look(tell)

        thread = threading.Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
