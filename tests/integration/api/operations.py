"""Every operation of the smol dialect: the scope it needs, and a body it takes. Tests hold it against the document."""

from collections.abc import Iterator, Mapping
from typing import Any

Operation = tuple[str, str]

EITHER = "usage:read or machine:read"

SCOPES: Mapping[Operation, str] = {
    ("POST", "/v1/machines"): "machine:create",
    ("GET", "/v1/machines"): "machine:read",
    ("GET", "/v1/machines/{id}"): "machine:read",
    ("POST", "/v1/machines/{id}/start"): "machine:exec",
    ("POST", "/v1/machines/{id}/stop"): "machine:exec",
    ("DELETE", "/v1/machines/{id}"): "machine:delete",
    ("GET", "/v1/machines/{id}/usage"): EITHER,
    ("POST", "/v1/machines/{id}/pause"): "machine:exec",
    ("POST", "/v1/machines/{id}/suspend"): "machine:exec",
    ("POST", "/v1/machines/{id}/resume"): "machine:exec",
    ("POST", "/v1/machines/{id}/branches"): "machine:create",
    ("POST", "/v1/machines/{id}/branches/batch"): "machine:create",
    ("POST", "/v1/machines/{id}/fork"): "machine:create",
    ("POST", "/v1/machines/{id}/fork-batch"): "machine:create",
    ("POST", "/v1/machines/{id}/checkpoints"): "machine:create",
    ("GET", "/v1/machines/{id}/checkpoints"): "machine:read",
    ("POST", "/v1/machines/{id}/rollback"): "machine:exec",
    ("POST", "/v1/machines/{id}/resize"): "machine:create",
    ("PUT", "/v1/machines/{id}/timers"): "machine:exec",
    ("GET", "/v1/machines/{id}/wait"): "machine:read",
    ("PUT", "/v1/machines/{id}/ports"): "machine:exec",
    ("PUT", "/v1/machines/{id}/network"): "machine:exec",
    ("POST", "/v1/machines/{id}/share"): "machine:exec",
    ("DELETE", "/v1/machines/{id}/share"): "machine:exec",
    ("POST", "/v1/machines/{id}/port-links"): "machine:exec",
    ("DELETE", "/v1/machines/{id}/port-links"): "machine:exec",
    ("POST", "/v1/machines/{id}/links"): "machine:exec",
    ("POST", "/v1/machines/{id}/traffic-token"): "machine:exec",
    ("GET", "/v1/checkpoints"): "machine:read",
    ("GET", "/v1/checkpoints/{id}"): "machine:read",
    ("POST", "/v1/checkpoints/{id}/restore"): "machine:create",
    ("POST", "/v1/checkpoints/{id}/verify"): "machine:read",
    ("DELETE", "/v1/checkpoints/{id}"): "machine:delete",
    ("GET", "/v1/pools"): "machine:read",
    ("POST", "/v1/pools"): "machine:create",
    ("GET", "/v1/pools/{id}"): "machine:read",
    ("POST", "/v1/pools/{id}/claim"): "machine:create",
    ("DELETE", "/v1/pools/{id}"): "machine:delete",
    ("GET", "/v1/machines/{id}/events"): "machine:read",
    ("GET", "/v1/events"): "machine:read",
    ("GET", "/v1/machines/{id}/logs"): "machine:read",
    ("POST", "/v1/machines/{id}/exec"): "machine:exec",
    ("POST", "/v1/machines/{id}/exec/stream"): "machine:exec",
    ("GET", "/v1/machines/{id}/exec/interactive"): "machine:exec",
    ("POST", "/v1/machines/{id}/code"): "machine:exec",
    ("POST", "/v1/machines/{id}/sessions"): "machine:exec",
    ("GET", "/v1/machines/{id}/sessions"): "machine:read",
    ("GET", "/v1/machines/{id}/sessions/{session}"): "machine:read",
    ("POST", "/v1/machines/{id}/sessions/{session}/exec"): "machine:exec",
    ("DELETE", "/v1/machines/{id}/sessions/{session}"): "machine:exec",
    ("POST", "/v1/machines/{id}/jobs"): "machine:exec",
    ("GET", "/v1/machines/{id}/jobs"): "machine:read",
    ("GET", "/v1/machines/{id}/jobs/{job}"): "machine:read",
    ("GET", "/v1/machines/{id}/jobs/{job}/output"): "machine:exec",
    ("POST", "/v1/machines/{id}/jobs/{job}/cancel"): "machine:exec",
    ("GET", "/v1/machines/{id}/files"): "machine:files",
    ("POST", "/v1/machines/{id}/files"): "machine:files",
    ("PUT", "/v1/machines/{id}/files/{path}"): "machine:files",
    ("GET", "/v1/machines/{id}/files/{path}"): "machine:files",
    ("GET", "/v1/machines/{id}/processes"): "machine:exec",
    ("GET", "/v1/machines/{id}/processes/{process}/output"): "machine:exec",
    ("POST", "/v1/machines/{id}/processes/{process}/stdin"): "machine:exec",
    ("POST", "/v1/machines/{id}/processes/{process}/signal"): "machine:exec",
    ("POST", "/v1/machines/{id}/processes/{process}/resize"): "machine:exec",
    ("DELETE", "/v1/machines/{id}/processes/{process}"): "machine:exec",
    ("POST", "/v1/volumes"): "volume:create",
    ("GET", "/v1/volumes"): "volume:read",
    ("GET", "/v1/volumes/{id}"): "volume:read",
    ("DELETE", "/v1/volumes/{id}"): "volume:delete",
    ("GET", "/v1/usage"): "usage:read",
    ("POST", "/v1/domains"): "machine:exec",
    ("GET", "/v1/domains"): "machine:read",
    ("GET", "/v1/domains/{domain}"): "machine:read",
    ("POST", "/v1/domains/{domain}/verify"): "machine:exec",
    ("DELETE", "/v1/domains/{domain}"): "machine:exec",
    ("POST", "/v1/webhooks"): "admin",
    ("GET", "/v1/webhooks"): "admin",
    ("GET", "/v1/webhooks/{id}"): "admin",
    ("DELETE", "/v1/webhooks/{id}"): "admin",
    ("GET", "/v1/webhooks/{id}/deliveries"): "admin",
    ("POST", "/v1/webhooks/{id}/deliveries/{delivery}/retry"): "admin",
    ("GET", "/v1/images"): "machine:read",
    ("POST", "/v1/images/pull"): "machine:create",
    ("DELETE", "/v1/images/{reference}"): "admin",
    ("POST", "/v1/apikeys"): "admin",
    ("GET", "/v1/apikeys"): "admin",
    ("DELETE", "/v1/apikeys/{id}"): "admin",
    ("POST", "/v1/tenants"): "admin",
    ("GET", "/v1/tenants"): "admin",
    ("GET", "/v1/tenants/{id}"): "",
    ("PATCH", "/v1/tenants/{id}"): "admin",
    ("POST", "/v1/tenants/{id}/suspend"): "admin",
    ("POST", "/v1/tenants/{id}/reactivate"): "admin",
}
"""By method and path; none where any key will do."""

REFUSED = {("POST", "/v1/checkpoints")}
"""Answered with a 501 whatever the scope."""

PUBLIC = {("GET", path) for path in ("/health", "/livez", "/readyz", "/metrics")}

BODIES: Mapping[Operation, Any] = {
    ("POST", "/v1/machines"): {"source": {"type": "image", "reference": "debian"}},
    ("POST", "/v1/machines/{id}/exec"): {"command": "true"},
    ("POST", "/v1/machines/{id}/exec/stream"): {"command": "true"},
    ("POST", "/v1/machines/{id}/code"): {"language": "python", "code": ""},
    ("POST", "/v1/machines/{id}/sessions/{session}/exec"): {"command": "true"},
    ("POST", "/v1/machines/{id}/jobs"): {"command": "true"},
    ("POST", "/v1/machines/{id}/files"): [{"path": "/tmp/x", "content": "x"}],
    ("POST", "/v1/machines/{id}/processes/{process}/signal"): {"signal": 9},
    ("POST", "/v1/machines/{id}/processes/{process}/resize"): {"cols": 80, "rows": 24},
    ("POST", "/v1/machines/{id}/rollback"): {"checkpoint": "ckpt-aaaaaaaaaaaaaaaaaaaa"},
    ("POST", "/v1/machines/{id}/resize"): {"diskGb": 30},
    ("PUT", "/v1/machines/{id}/timers"): {"autoStopSeconds": 300},
    ("PUT", "/v1/machines/{id}/ports"): {"ports": [{"port": 80}]},
    ("PUT", "/v1/machines/{id}/network"): {"mode": "open"},
    ("POST", "/v1/machines/{id}/links"): {"port": 80, "ttlSeconds": 60},
    ("POST", "/v1/volumes"): {"name": "data", "sizeGb": 1},
    ("POST", "/v1/domains"): {"name": "shop.example", "machine": "mach-aaaaaaaaaaaaaaaaaaaa", "port": 80},
    ("POST", "/v1/webhooks"): {"url": "https://example.org/hook"},
    ("POST", "/v1/pools"): {"image": "debian", "min": 0, "max": 1},
    ("POST", "/v1/images/pull"): {"reference": "debian"},
    ("POST", "/v1/apikeys"): {},
    ("POST", "/v1/tenants"): {"name": "acme"},
    ("PATCH", "/v1/tenants/{id}"): {"limits": {"machines": 3}},
}
"""Of those that need one."""


def every_operation(paper: Mapping[str, Any]) -> Iterator[Operation]:
    """All that an OpenAPI document tells of."""
    for path, methods in paper["paths"].items():
        for method in methods:
            yield method.upper(), path
