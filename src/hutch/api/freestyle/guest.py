"""What happens inside a VM: the routers of its commands, files, terminals, services and streams."""

from fastapi import APIRouter
from pydantic import BaseModel

from hutch.api.freestyle import execs, files, guest_requests, pty, streams, systemd, terminals

ROUTERS: tuple[APIRouter, ...] = (
    *(execs.router, files.router, terminals.router),
    *(pty.router, systemd.router, streams.router),
)
BODIES: tuple[type[BaseModel], ...] = guest_requests.ALL
"""For the OpenAPI document."""
