"""What was used: metered from the transitions, exact across crashes.

The store keeps intervals (machine, from, to, shape); an open one is extended by a heartbeat, so that a crash loses at
most what came after the last, and counts no second twice.
"""

from datetime import datetime

from hutch.control.keys import Principal
from hutch.model.ids import MachineId, TenantId
from hutch.model.usage import Report


class Usages:
    """The usage of all tenants."""

    async def report(
        self,
        principal: Principal,
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: TenantId | None = None,
    ) -> Report:
        """Of the caller's tenant, or of another one for the admin of the box. None: from its creation, until now.

        Needs `usage:read`. `InvalidRequest` for an end before the start; `NotFound` for a tenant one may not see.
        """
        raise NotImplementedError

    async def of_machine(self, principal: Principal, machine: MachineId) -> Report:
        """Also of a deleted one. Needs `usage:read` or `machine:read`. `NotFound`."""
        raise NotImplementedError
