"""What a machine is really run with: asked of its process, if it has one, else what a start would use."""

import contextlib
import itertools
from pathlib import Path

from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.qemu import argv, process, tsc
from hutch.model.facts import ProcessFacts

_KERNEL, _ARGUMENTS = "-kernel", "-append"


def of_words(words: list[str]) -> dict[str, str]:
    """The options of a QEMU command line that tell of its kernel, by name. Pure."""
    return {name: value for name, value in itertools.pairwise(words) if name in (_KERNEL, _ARGUMENTS)}


def find(context: Context, journal: Journal) -> ProcessFacts:
    """The facts of a machine."""
    engine = context.engine
    root_image = str(context.images.root_image(journal.spec.image.digest))
    running = journal.process
    if running is not None and journal.run is not None and process.is_alive(running):
        proc = Path(f"/proc/{running.pid}")
        with contextlib.suppress(OSError, KeyError):  # it ends just now
            words = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
            told = of_words(words)
            kernel = str(
                (proc / "fd" / Path(told[_KERNEL]).name).readlink()
            )  # inherited: its number is all that is said
            socket = str(context.paths.run(journal.run).qmp)
            return ProcessFacts(kernel, told[_ARGUMENTS], root_image, socket, running.pid)
    arguments = argv.kernel_command_line(engine.accelerator, tsc.khz())
    return ProcessFacts(str(engine.launcher.boot.kernel), arguments, root_image)
