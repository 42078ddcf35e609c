"""What a machine is really run with on its host."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Of a machine at rest: what a start would use now, as far as that is known. Paths are the host's own."""

    kernel: str
    kernel_arguments: str
    root_image: str
    control_socket: str | None = None  # of the process that runs it
    pid: int | None = None
