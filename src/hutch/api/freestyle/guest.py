"""What happens inside a VM: the routers of its commands, files, terminals, services and streams."""

from fastapi import APIRouter
from pydantic import BaseModel

ROUTERS: tuple[APIRouter, ...] = ()
BODIES: tuple[type[BaseModel], ...] = ()
"""For the OpenAPI document."""
