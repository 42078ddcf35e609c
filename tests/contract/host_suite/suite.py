"""All of it."""

from contract.host_suite.files import FilesSuite
from contract.host_suite.images import ImagesSuite
from contract.host_suite.machines import MachinesSuite
from contract.host_suite.processes import ProcessesSuite


class HostSuite(MachinesSuite, ProcessesSuite, FilesSuite, ImagesSuite):
    """Derive from it, and give it a fixture named `rig`."""
