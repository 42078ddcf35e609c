"""From the starpod dialect's requests to what the control plane is asked. Pure."""

from hutch.api.starpod import requests
from hutch.control import requests as control_requests
from hutch.control.machines import MachineRequest
from hutch.model import errors

IMAGE = "debian"
"""Of instances: the document knows no other."""

DISPLAY_NAME = "starpod.name"
"""The label that keeps an instance's name: here it is for people, and need neither be unique nor fit a host."""


def check_region(asked: str | None, region: str) -> None:
    """`InvalidRequest` for any other than this host's."""
    if asked is not None and asked != region:
        raise errors.InvalidRequest(f"region: there is no {asked[:80]!r} here, only {region!r}; or leave it out")


def machine_request(body: requests.CreateInstance, named: bool = True) -> MachineRequest:
    """A machine to make. It is called as the instance is, if it is `named` and a machine can be called so."""
    name = body.name or None
    labels = {} if name is None else {DISPLAY_NAME: name}
    try:
        control_requests.check_labels(labels)
    except errors.InvalidRequest:
        raise errors.InvalidRequest("name: it is too long, or holds a NUL") from None
    return MachineRequest(
        image=IMAGE,
        name=name if named and name is not None and _can_be_a_machines(name) else None,
        labels=labels,
    )


def _can_be_a_machines(name: str) -> bool:
    try:
        control_requests.check_name(name)
    except errors.InvalidRequest:
        return False
    return True
