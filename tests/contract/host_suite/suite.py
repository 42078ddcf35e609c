"""All of it."""

from contract.host_suite.changes import ChangesSuite
from contract.host_suite.files import FilesSuite
from contract.host_suite.freezing import FreezingSuite
from contract.host_suite.images import ImagesSuite
from contract.host_suite.looking import LookingSuite
from contract.host_suite.machines import MachinesSuite
from contract.host_suite.networks import NetworksSuite
from contract.host_suite.optimizing import OptimizingSuite
from contract.host_suite.processes import ProcessesSuite
from contract.host_suite.snapshots import SnapshotsSuite
from contract.host_suite.volumes import VolumesSuite


class HostSuite(
    MachinesSuite,
    ProcessesSuite,
    FilesSuite,
    LookingSuite,
    ImagesSuite,
    FreezingSuite,
    SnapshotsSuite,
    OptimizingSuite,
    ChangesSuite,
    VolumesSuite,
    NetworksSuite,
):
    """Derive from it, and give it a fixture named `rig`."""
