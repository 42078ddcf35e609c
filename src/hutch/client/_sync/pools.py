"""Warm pools: machines kept ready, so that a start that fits takes one of them."""

from hutch.client import models, wire
from hutch.client._sync.http import LONG, Http


class Pools:
    """Every `pool` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, wanted: models.NewPool) -> models.Pool:
        """Begin to keep machines ready."""
        return wire.pool(self._http.json("POST", "/v1/pools", json=wire.new_pool(wanted), timeout=LONG))

    def get(self, pool: str) -> models.Pool:
        """One, and how it stands."""
        return wire.pool(self._http.json("GET", wire.pool_path(pool)))

    def claim(
        self,
        pool: str,
        wanted: models.NewMachine | None = None,
        mode: str | None = None,
        wait: float | None = None,
    ) -> models.Machine:
        """A new running machine of the pool's image, shape and network: of these `wanted` can only say the same.

        It waits up to `wait` seconds (30 at most) for one that is ready; else it is made as any other, or, with `mode`
        require, not at all.
        """
        path, body = wire.pool_path(pool, "claim"), wire.claim(wanted, mode, wait)
        return wire.machine(self._http.json("POST", path, json=body, timeout=LONG))

    def update(self, pool: str, change: models.PoolChange) -> models.Pool:
        """Change it."""
        return wire.pool(self._http.json("PATCH", wire.pool_path(pool), json=wire.pool_change(change)))

    def delete(self, pool: str) -> None:
        """End it and its waiting machines; claimed ones live on."""
        self._http.json("DELETE", wire.pool_path(pool), timeout=LONG)

    def list(self) -> list[models.Pool]:
        """All, oldest first."""
        return [wire.pool(it) for it in self._http.json("GET", "/v1/pools")]
