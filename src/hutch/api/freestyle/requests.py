"""What the freestyle dialect reads of machines, snapshots and builds.

Types are strict, a null is as good as nothing, and unknown fields are dropped: the documented clients send some.
"""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Strict types, unknown fields dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


ALL: tuple[type[Body], ...] = ()
"""For the OpenAPI document."""
