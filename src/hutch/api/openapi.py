"""A dialect's OpenAPI document: the framework's, with the request bodies it does not know of.

Handlers read their bodies themselves (see `bodies`), so they name the model in `openapi_extra=body(Model)`.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REF = "#/components/schemas/{model}"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


def body(model: type[BaseModel], optional: bool = False) -> dict[str, Any]:
    """For `openapi_extra`: this handler reads a `model`."""
    schema = {"$ref": _REF.format(model=f"{model.__name__}Body")}
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a router's `responses`: errors whose body is text."""
    words = {400: "Bad request", 401: "No or unknown key", 403: "Missing scope", 404: "Not found", 409: "Conflict"}
    return {code: {"description": words.get(code, "Error"), "content": _TEXT} for code in statuses}


def document(app: FastAPI, bodies: Sequence[type[BaseModel]], public: frozenset[str]) -> dict[str, Any]:
    """The whole document. `public` are the paths that need no key."""
    paper = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, servers=app.servers
    )
    _, read = models_json_schema(
        [(model, "validation") for model in bodies], ref_template="#/components/schemas/{model}Body"
    )
    schemas = paper.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {f"{name}Body": schema for name, schema in read.get("$defs", {}).items()}
    paper["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    paper["security"] = [{"bearer": []}]
    for path in public & paper["paths"].keys():
        for operation in paper["paths"][path].values():
            operation["security"] = []
    return paper
