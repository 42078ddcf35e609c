"""Who is asking, and what they may do.

All keys live in memory, so that a request is authenticated without the database; of a token only its SHA-256 is kept.
A token has 256 random bits, so nothing slower than one SHA-256 is needed against guessing.
"""

import builtins
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hutch.control.accounts import Account, Accounts
from hutch.control.clock import Clock
from hutch.model import errors, ids, keys
from hutch.model.ids import KeyId, TenantId
from hutch.model.keys import ApiKey, Tenant
from hutch.store.interface import Store, StoredKey

HARMLESS = frozenset({"machine:read", "machine:delete", "volume:read", "volume:delete", "usage:read"})
"""What looks and deletes: scopes that the keys of a suspended tenant still have."""

DESCRIPTION_LENGTH = 1024
_PREFIX = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TOKEN_BYTES = 32


def _make_account() -> Account:
    return Account(Tenant(TenantId(""), "", datetime.min.replace(tzinfo=UTC)))


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request, as their key tells it."""

    tenant: TenantId
    key: KeyId
    scopes: frozenset[str]
    account: Account = field(default_factory=_make_account, compare=False, repr=False)

    def require(self, scope: str) -> None:
        """Raise `Forbidden` ("missing scope: volume:read") unless the key has it; `admin` implies all.

        `Suspended` for a suspended tenant, unless the scope is one of `HARMLESS`.
        """
        self.require_to_look(scope)
        if self.account.tenant.is_suspended and scope not in HARMLESS:
            raise errors.Suspended

    def seeing(self) -> "Principal":
        """The same, to look at what became of a request of theirs: that needs the scope of the request alone."""
        return replace(self, scopes=self.scopes | {"machine:read"})

    def require_to_look(self, scope: str) -> None:
        """The same for looking and deleting, which the keys of a suspended tenant may do."""
        if scope not in self.scopes and keys.ADMIN not in self.scopes:
            raise errors.Forbidden(f"missing scope: {scope}")


class Keys:
    """The API keys of all tenants."""

    def __init__(self, store: Store, clock: Clock, accounts: Accounts) -> None:
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._keys: dict[KeyId, StoredKey] = {}
        self._principals: dict[KeyId, Principal] = {}
        self._by_start: dict[bytes, list[StoredKey]] = {}  # by the first bytes of the hash
        self._used: dict[KeyId, datetime] = {}
        self._touched: set[KeyId] = set()

    def load(self, stored: Iterable[StoredKey]) -> None:
        """Take up what the store has."""
        for one in stored:
            self._insert(one)

    def authenticate(self, token: str) -> Principal:
        """Whose token this is. `UnknownKey` if it is unknown, revoked or expired."""
        digest = _hash(token)
        for stored in self._by_start.get(digest[:8], ()):
            if hmac.compare_digest(stored.hash, digest):
                now = self._clock.now()
                if stored.key.expires_at is not None and now >= stored.key.expires_at:
                    raise errors.ExpiredKey
                self._used[stored.key.id] = now
                self._touched.add(stored.key.id)
                return self._principals[stored.key.id]
        raise errors.UnknownKey

    async def create(
        self,
        principal: Principal,
        description: str = "",
        scopes: Collection[str] = (),
        expires_in: timedelta | None = None,
        prefix: str = "smk",
        tenant: TenantId | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key of the caller's tenant, and its token, told this once. Needs `admin`.

        No scopes means the caller's own. `tenant`: of another one, for the admin of the box. `InvalidRequest` for an
        unknown scope or a malformed prefix; `NotFound` for a tenant one may not see.
        """
        principal.require(keys.ADMIN)
        tenant = self._accounts.visible(principal.tenant, tenant)
        if not _PREFIX.fullmatch(prefix) or len(prefix) > 32:
            raise errors.InvalidRequest(f"key prefix {prefix!r}: use at most 32 small letters, digits and underscores")
        if len(description) > DESCRIPTION_LENGTH:
            raise errors.InvalidRequest(f"the description is longer than {DESCRIPTION_LENGTH} characters")
        if expires_in is not None and not timedelta(0) < expires_in <= timedelta(days=36500):
            raise errors.InvalidRequest("a key's life must be longer than nothing and at most 100 years")
        granted = expand_scopes(scopes) or principal.scopes
        return await self._add(tenant, description, granted, expires_in, prefix)

    async def revoke(self, principal: Principal, key: str) -> None:
        """End a key at once. Needs `admin`. `NotFound`."""
        principal.require_to_look(keys.ADMIN)
        stored = self._keys.get(KeyId(key))
        if stored is None or stored.key.tenant != principal.tenant:
            raise errors.NotFound("API key not found")
        await self._store.remove_key(stored.key.id)
        self._remove(stored)

    async def bootstrap(self, force: bool = False) -> str | None:
        """The token of a new admin key of the default tenant; None if the store already has an admin key.

        `force` makes one all the same: for a caller on this box that has lost its own. Never logged.
        """
        if not force and any(keys.ADMIN in stored.key.scopes for stored in self._keys.values()):
            return None
        _, token = await self._add(self._accounts.default, "made at start", frozenset({keys.ADMIN}), None, "smk")
        return token

    def take_touched(self) -> dict[KeyId, datetime]:
        """Those used since the last call, and when."""
        touched, self._touched = self._touched, set()
        return {id: self._used[id] for id in touched if id in self._used}

    async def list(self, principal: Principal) -> builtins.list[ApiKey]:
        """The tenant's keys, newest first. Needs `admin`."""
        principal.require_to_look(keys.ADMIN)
        mine = [stored.key for stored in reversed(self._keys.values()) if stored.key.tenant == principal.tenant]
        return [replace(key, last_used_at=self._used.get(key.id, key.last_used_at)) for key in mine]

    async def _add(
        self, tenant: TenantId, description: str, scopes: frozenset[str], expires_in: timedelta | None, prefix: str
    ) -> tuple[ApiKey, str]:
        token = f"{prefix}_{secrets.token_urlsafe(_TOKEN_BYTES)}"
        now = self._clock.now()
        expires_at = None if expires_in is None else now + expires_in
        key = ApiKey(KeyId(ids.random_id()), tenant, prefix, scopes, description, now, expires_at)
        stored = StoredKey(key, _hash(token))
        await self._store.add_key(stored)
        self._insert(stored)
        return key, token

    def _insert(self, stored: StoredKey) -> None:
        key = stored.key
        self._keys[key.id] = stored
        account = self._accounts.get(key.tenant)
        assert account is not None, "a key needs a tenant"
        self._principals[key.id] = Principal(key.tenant, key.id, key.scopes, account)
        self._by_start.setdefault(stored.hash[:8], []).append(stored)

    def _remove(self, stored: StoredKey) -> None:
        id = stored.key.id
        self._by_start[stored.hash[:8]].remove(stored)
        for table in (self._keys, self._principals, self._used):
            table.pop(id, None)
        self._touched.discard(id)


def expand_scopes(asked: Collection[str]) -> frozenset[str]:
    """Scopes by name, `machine:*` and `volume:*` standing for all of theirs. `InvalidRequest` lists those there are.

    Hyperfleet's are taken too (`keys.HYPERFLEET`), for what they mean here.
    """
    granted: set[str] = set()
    for scope in asked:
        meant = keys.HYPERFLEET.get(scope) or {
            known for known in keys.SCOPES if known == scope or (scope.endswith(":*") and known.startswith(scope[:-1]))
        }
        if not meant:
            raise errors.InvalidRequest(f"unknown scope {scope!r}: there are {', '.join(keys.SCOPES)}")
        granted |= meant
    return frozenset(granted)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
