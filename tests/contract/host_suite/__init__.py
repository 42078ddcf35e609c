"""What every host does: one suite for the simulated one and the real one.

class TestMyHost(HostSuite):
    @pytest.fixture
    def rig(self, ...) -> Rig: ...
"""

import pytest

pytest.register_assert_rewrite(
    "contract.host_suite.rig",
    "contract.host_suite.machines",
    "contract.host_suite.processes",
    "contract.host_suite.files",
    "contract.host_suite.looking",
    "contract.host_suite.images",
    "contract.host_suite.freezing",
    "contract.host_suite.snapshots",
    "contract.host_suite.optimizing",
    "contract.host_suite.changes",
    "contract.host_suite.volumes",
)
