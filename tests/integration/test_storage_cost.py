"""What storing costs, beside what was saved."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from sayonce.cli import app
from tests.conftest import House, MakeHouse
from tests.integration.test_retention import engine

__all__ = ["engine"]
_GB = 1 << 30


async def stats_of(house: House, **headers: str) -> dict[str, Any]:
    told: dict[str, Any] = (await house.http.get("/api/cache-stats", headers=headers)).json()["stats"]
    return told


async def test_what_each_storage_holds_and_costs(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    priced = {"storage_prices": {"local": 2e6, "database": 1e6}, "currency": "ZAR", "usd_rate": 17.0}
    house = await make_house(tier="database://", upstreams={"openai": {"price": 1e6}}, **priced, **engine)
    sizes = [len((await house.speak(f"Sentence {n}.")).audio) for n in range(3)]
    for _ in range(2):
        await house.speak("Sentence 0.")
    told = await stats_of(house)
    size = sum(sizes)
    assert told["by_storage"] == {
        "database://": _held(3, size, 1e6),
        "local": _held(3, size, 2e6),
    }
    cost = sum(each["cost_micros"] for each in told["by_storage"].values())
    assert told["storage_cost_micros"] == cost > 0
    assert told["storage_cost"] == cost / 1e6
    assert told["saved_micros"] == 2 * len("Sentence 0.") * 17_000_000
    assert told["net_micros"] == told["saved_micros"] - cost
    assert (told["net"], told["unpriced"]) == (told["net_micros"] / 1e6, [])


def _held(blobs: int, size: int, price: float) -> dict[str, Any]:
    micros = round(size / _GB * price * 17.0 * 1_000_000)
    return {"blobs": blobs, "bytes": size, "usd_gb_month": price, "cost": micros / 1e6, "cost_micros": micros}


async def test_a_tenant_learns_of_its_own_alone(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(require_keys=True, **engine)
    made: dict[str, dict[str, str]] = {}
    for name, roles in (("one", [Role.SPEAK]), ("two", [Role.SPEAK]), ("boss", [Role.ADMIN])):
        await house.gateway.catalog.put_tenant(Tenant(name))
        _, key = await keys.create(house.gateway.catalog, name, "", roles, lambda: 0.0)
        made[name] = {"authorization": f"Bearer {key}"}
    await house.speak("One.", headers=made["one"])
    for text in ("One.", "Two."):
        await house.speak(text, headers=made["two"])
    blobs = {name: (await stats_of(house, **key))["by_storage"]["local"]["blobs"] for name, key in made.items()}
    assert blobs == {"one": 1, "two": 2, "boss": 3}


async def test_a_price_that_nobody_knows(make_house: MakeHouse, tmp_path: Path) -> None:
    """What rests in a storage that is not configured any more."""
    house = await make_house(storage="old", storages={"old": {"backend": "local", "root": str(tmp_path / "old")}})
    await house.speak()
    later = await make_house()
    told = await stats_of(later)
    assert (told["by_storage"]["old"]["cost"], told["unpriced"]) == (None, ["old"])
    assert (told["storage_cost"], told["net"]) == (0.0, told["saved"])


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_command_tells_it(make_house: MakeHouse, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await make_house()
    await house.speak()
    size = (await stats_of(house))["bytes"]
    monkeypatch.setenv("SAYONCE_DATA_DIR", str(house.gateway.settings.data_dir))
    monkeypatch.setenv("SAYONCE_STORAGE_PRICES__LOCAL", str(_GB * 3 // size))
    command = ["stats", "--json"] if as_json else ["stats"]
    ran = await asyncio.to_thread(CliRunner().invoke, app, command, env={"COLUMNS": "120"})
    assert ran.exception is None, ran.exception
    if as_json:
        assert json.loads(ran.output)["storage_cost"] == pytest.approx(3, rel=0.01)
    else:
        rows = {line.split()[0]: line.split()[1:] for line in ran.output.splitlines() if line.strip()}
        assert rows["storage"][:2] == ["copies", "MB"]
        assert (rows["local"][0], float(rows["local"][-1])) == ("1", pytest.approx(3, rel=0.01))
        assert "for a month of storage: -" in ran.output
