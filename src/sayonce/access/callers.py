"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sayonce.catalog.records import Tenant
from sayonce.errors import Forbidden
from sayonce.speech.requests import Owner, Scope


class Role(StrEnum):
    """What a key may do: have texts spoken, share what was spoken with other tenants, run the gateway."""

    SPEAK = "speak"
    SHARE = "share"
    ADMIN = "admin"


ALL_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant by one of its keys. `key_id` is None where the gateway is open; `confirmed` is when the catalog last
    said so, by the gate's clock."""

    tenant: Tenant
    roles: frozenset[str]
    key_id: str | None = None
    confirmed: float = field(default=0.0, compare=False)

    def demand(self, role: Role) -> None:
        """Forbidden where the key has not that role."""
        if role not in self.roles:
            raise Forbidden(
                f"This key may not {role}.",
                remedy=f"Use a key with the role '{role}': sayonce keys create --role {role}",
            )

    def may_have(self, owner: Owner, user: str | None, session: str | None) -> bool:
        """Whether what belongs to `owner` is for this caller, who speaks for that user and session."""
        match owner.scope:
            case Scope.SHARED:
                return True
            case Scope.TENANT:
                return owner.tenant == self.tenant.id
            case Scope.USER:
                return owner.tenant == self.tenant.id and owner.user == user
            case Scope.SESSION:
                return owner.tenant == self.tenant.id and owner.session == session
