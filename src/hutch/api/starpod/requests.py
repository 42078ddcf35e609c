"""What the starpod dialect reads. Types are strict, unknown fields are dropped, and a null is as good as nothing."""

from pydantic import BaseModel, ConfigDict


class CreateInstance(BaseModel):
    """An instance to make."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: str | None = None
    region: str | None = None


ALL = (CreateInstance,)
"""For the OpenAPI document."""
