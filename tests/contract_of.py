"""Answers held against somebody else's OpenAPI 3.1 document, where a test is told its path; else nothing is checked."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import yaml


class Contract:
    """The document at `path`; without one everything fits."""

    def __init__(self, path: str | None) -> None:
        self._paper: dict[str, Any] = {"paths": {}} if path is None else yaml.safe_load(Path(path).read_text())
        self._paths = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(it))), it) for it in self._paper["paths"]]

    def check(self, answer: httpx.Response) -> None:
        """Raise unless it is as the document has it; for the hooks of a client."""
        path = answer.request.url.raw_path.decode().partition("?")[0]
        fits = [template for pattern, template in self._paths if pattern.fullmatch(path)]
        template = min(fits, key=lambda it: it.count("{"), default=None)
        its = {} if template is None else self._paper["paths"][template].get(answer.request.method.lower(), {})
        told = its.get("responses", {}).get(str(answer.status_code), {}).get("content", {}).get("application/json")
        if told is not None:
            answer.read()
            whole = {"$ref": "#/it", "it": told["schema"], "components": self._paper["components"]}
            jsonschema_rs.validate(whole, json.loads(answer.content))
