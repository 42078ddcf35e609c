"""What a machine is run with is what its process and its guest say."""

from pathlib import Path

from machines import Launcher


async def test_kernel_arguments_disk_socket_and_process_are_the_true_ones(vms: Launcher) -> None:
    machine = await vms.launch()
    for _ in range(2):  # restored from a template, then booted from its own disk
        facts = vms.host.facts(machine.id)
        assert facts.kernel_arguments == (await machine.run("cat /proc/cmdline")).text
        assert Path(facts.kernel).read_bytes()[:4] == b"\x7fELF"
        assert Path(facts.root_image).is_file()
        assert facts.control_socket is not None
        assert Path(facts.control_socket).is_socket()
        assert facts.pid == machine.pid
        await vms.host.stop(machine.id, grace=10)
        rest = vms.host.facts(machine.id)
        assert (rest.kernel, rest.root_image, rest.pid) == (facts.kernel, facts.root_image, None)
        await vms.host.start(machine.id)
