"""Tenants: `GET`, `PUT` and `PATCH /admin/tenants/{tenant}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope

from sayonce.access.callers import Role
from sayonce.access.tenants import altered, refuse_nameless
from sayonce.api import answers
from sayonce.api.bodies import Names, parse
from sayonce.api.desk import Desk, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.catalog.records import Tenant
from sayonce.errors import MissingExtra, NotFound, ProviderMisconfigured, TextTooLong

_LONGEST_BODY = 1_000_000
# What a greeting is another by.
_SPOKEN = {"voice", "greeting", "chain"}


class TenantBody(BaseModel):
    """What is told of a tenant; null, or what is not told at all, is as usual. `voice` holds `provider`, `model`,
    `voice`, `language`, `speed`, `pitch`, `style`, `instructions`, `options` and `format`."""

    model_config = ConfigDict(extra="forbid")

    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    budget: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    public: bool | None = None
    disabled: bool | None = None
    chain: Names | None = None
    voice: dict[str, Any] | None = None
    greeting: str | None = None


class TenantDoor(Door):
    """`PUT` says all of a tenant, and makes it; `PATCH` what is to be otherwise."""

    words: ClassVar[Mapping[str, str]] = {"input": "greeting", "upstream": "provider", "response_format": "format"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope, Role.ADMIN)
        name = scope["path_params"]["tenant"]
        if scope["method"] in ("GET", "HEAD"):
            return answers.as_json(row(await found(self.gateway, name)))
        refuse_nameless(name)
        body = parse(TenantBody, await read_body(receive, visit.headers, _LONGEST_BODY))
        told = body.model_dump(exclude_unset=True)
        whole = scope["method"] == "PUT"
        if whole:
            tenant = await change(self.gateway, Tenant(name), told, whole=True)
        else:
            tenant = await change(self.gateway, await found(self.gateway, name), told)
        if whole or told.keys() & _SPOKEN:
            await self.gateway.greetings.see_to(name)
        return answers.as_json(row(tenant))


async def found(gateway: Gateway, name: str) -> Tenant:
    """The tenant of that name; NotFound where there is none. `default` is always there."""
    tenant = await gateway.catalog.tenant(name)
    if tenant is None and name != "default":
        raise no_tenant(name)
    return tenant or Tenant(name)


async def change(gateway: Gateway, before: Tenant, told: Mapping[str, Any], *, whole: bool = False) -> Tenant:
    """Changes what is told of a tenant, as it is by then; with `whole`, makes it anew of that alone. InvalidRequest
    and its kin, and nothing changed, where something is wrong, or its voice cannot speak so."""
    after = altered(before, told)
    _refuse_unknown(gateway, after)
    if after.greeting is not None and len(after.greeting) > gateway.settings.max_text:
        raise TextTooLong(
            f"The text has {len(after.greeting)} characters.",
            param="input",
            remedy=f"Send at most {gateway.settings.max_text}.",
        )
    if told.keys() & _SPOKEN:
        gateway.greetings.order(after)
    return await gateway.catalog.alter_tenant(before.id, lambda now: after if whole else altered(now or before, told))


def _refuse_unknown(gateway: Gateway, tenant: Tenant) -> None:
    for name in tenant.chain:
        try:
            gateway.cast.upstream(name)
        except (MissingExtra, ProviderMisconfigured):
            continue  # it may be there in another gateway, or tomorrow


def no_tenant(name: str) -> NotFound:
    """There is none of that name."""
    return NotFound("There is no such tenant.", remedy="Make it: PUT /admin/tenants/{name}.")


def row(tenant: Tenant) -> dict[str, Any]:
    """A tenant as it is told; null is the settings' default."""
    return {
        "id": tenant.id,
        "rate": tenant.rate,
        "burst": tenant.burst,
        "budget": tenant.budget,
        "public": tenant.public,
        "disabled": tenant.disabled,
        "chain": list(tenant.chain),
        "voice": tenant.voice.told(),
        "greeting": tenant.greeting,
    }


def show_tenant(tenant: str) -> None:
    """A tenant's limits, voice and greeting."""


def put_tenant(tenant: str, body: TenantBody) -> None:
    """Makes a tenant, or says anew all that there is to say of one: what is left out is the setting's default. Its
    greeting is made, if it has one."""


def patch_tenant(tenant: str, body: TenantBody) -> None:
    """Changes what is told of a tenant, in its voice field by field; null is the setting's default again. Its
    greeting is made anew where its text or voice is another; an empty one ends it."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors."""
    for method, describe in (("GET", show_tenant), ("PUT", put_tenant), ("PATCH", patch_tenant)):
        hang(app, "/admin/tenants/{tenant}", method, TenantDoor(gateway, desk), describe)
