"""The service's log: to stderr, for a person on a terminal, as JSON lines elsewhere."""

import logging
from typing import TextIO

import structlog


def configure(level: str, target: TextIO) -> None:
    """`level` is debug, info, warning or error; other libraries speak from warning on."""
    threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if target.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if target.isatty() else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=target, format="%(levelname)s %(name)s: %(message)s"
    )
