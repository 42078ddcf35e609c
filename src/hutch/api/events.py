"""Server-sent events, written (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""


def frame(event: str, data: str) -> bytes:
    """One event; every line of `data` gets a `data:` of its own, so that a reader joins them with `\\n` again.

    `data` must hold no carriage return: the format ends a line with it and cannot carry one.
    """
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {event}\n{lines}\n".encode()


class LineEnds:
    """Makes `\\n` of `\\r\\n` and of a lone `\\r`, also across the pieces a text comes in."""

    def __init__(self) -> None:
        self._after_return = False

    def clean(self, text: str) -> str:
        """The next piece."""
        if "\r" not in text and not self._after_return:
            return text
        if self._after_return and text.startswith("\n"):
            text = text[1:]
            self._after_return = False
        if text:
            self._after_return = text.endswith("\r")
        return text.replace("\r\n", "\n").replace("\r", "\n")
