"""What a machine is really run with: asked of its process, if it has one, else what a start would use."""

import contextlib
import itertools
from pathlib import Path

from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.qemu import argv, process, tsc
from hutch.model.facts import ProcessFacts


def of_words(words: list[str]) -> tuple[str, str]:
    """Kernel and kernel arguments of the guest that a QEMU of this command line runs. Pure; `KeyError` without.

    Every guest is booted with `hutch.grow`; a process that took over a booted one was not told so again.
    """
    options = dict(itertools.pairwise(words))
    arguments = options["-append"]
    return options["-kernel"], f"{arguments} {argv.GROW}" if "-incoming" in words else arguments


def find(context: Context, journal: Journal) -> ProcessFacts:
    """The facts of a machine."""
    engine = context.engine
    root_image = str(context.images.root_image(journal.spec.image.digest))
    running = journal.process
    if running is not None and journal.run is not None and process.is_alive(running):
        proc = Path(f"/proc/{running.pid}")
        with contextlib.suppress(OSError, KeyError):  # it ends just now
            kernel, arguments = of_words((proc / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            kernel = str((proc / "fd" / Path(kernel).name).readlink())  # inherited: only its number is said
            return ProcessFacts(kernel, arguments, root_image, str(context.paths.run(journal.run).qmp), running.pid)
    arguments = argv.kernel_command_line(engine.accelerator, tsc.khz(), grow=True)
    return ProcessFacts(str(engine.launcher.boot.kernel), arguments, root_image)
