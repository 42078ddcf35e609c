"""What the hyperfleet dialect reads.

Types are strict, unknown fields are dropped: examples of the documented service still send paths of kernel and root
file system, which are the server's own. A field of the service's code that cannot act here is declared, so that
`parse` can refuse it by name.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hutch.api.hyperfleet.states import Status

LONGEST_WAIT = 30
EXEC_SECONDS = 30

Name = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Argv = Annotated[list[str], Field(min_length=1)]


class Body(BaseModel):
    """Strict types, unknown fields dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class RegistryAuth(Body):
    """Credentials of a registry."""

    username: str | None = None
    password: str | None = Field(None, repr=False)


class Network(Body):
    """A machine's network, in the service's code."""

    enable: bool | None = None
    tap_device: str | None = None
    tap_ip: str | None = None
    guest_ip: str | None = None
    guest_mac: str | None = None


class CreateMachine(Body):
    """A machine to make."""

    name: Name
    vcpu_count: Annotated[int, Field(ge=1, le=2**31)]
    mem_size_mib: Annotated[int, Field(ge=4, le=2**31)]
    exposed_ports: list[Port] | None = None
    image: str | None = Field(None, description="Of the service's code: an OCI reference.")
    image_size_mib: Annotated[int, Field(ge=64, le=2**31)] | None = None
    registry_auth: RegistryAuth | None = None
    network: Network | None = None


class Exec(Body):
    """A command: a program and its arguments."""

    command: Argv | None = None
    cmd: Argv | None = Field(None, description="The same as command.")
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = Field(None, description="Seconds; 30 if left out.")


class WriteFile(Body):
    """A file to write."""

    path: Name
    content: str = Field(description="Base64.")


class Listing(BaseModel):
    """Which machines are listed."""

    model_config = ConfigDict(frozen=True)

    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=2**31)] = 50
    offset: Annotated[int, Field(ge=0, le=2**31)] = 0


class Waiting(BaseModel):
    """What is waited for, and for how many seconds at most."""

    model_config = ConfigDict(frozen=True)

    status: Status
    timeout: Annotated[int, Field(ge=0, le=LONGEST_WAIT)] = LONGEST_WAIT


ALL = (CreateMachine, Exec, WriteFile)
"""For the OpenAPI document."""
