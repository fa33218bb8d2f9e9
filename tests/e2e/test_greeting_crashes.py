"""Whatever moment a process dies at while a greeting changes: callers hear the old one or the new one, and soon the
new one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import MakeHouse, until
from tests.e2e import crashing
from tests.e2e.processes import refuse_unsound
from tests.e2e.test_crashes import crash

# Each step, and what callers hear after a crash at it.
CHANGING = [
    ("sayonce.greeting:told", 1, "old"),
    ("sayonce.greeting:wanted", 1, "old"),
    ("sayonce.remove:row deleted", 1, "old"),  # there was nothing to end yet
    ("sayonce.keep:checked", 1, "old"),
    ("sayonce.keep:blob written", 1, "old"),
    ("sayonce.keep:row committed", 1, "new"),
    ("sayonce.remove:row deleted", 2, "new"),
]


@pytest.mark.parametrize(("step", "count", "then"), CHANGING)
async def test_a_crash_while_a_greeting_changes(
    make_house: MakeHouse, tmp_path: Path, step: str, count: int, then: str
) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        await crash("greet", step, count, tmp_path / "data", vendors, upstream)
        house = await make_house(openai_base_url=f"{upstream}/v1", lease_seconds=1)
        first = await house.gateway.greetings.asset("shop")
        assert first is not None
        assert first.text == (crashing.TEXT if then == "old" else crashing.NEW_TEXT)
        assert await house.gateway.shelf.fetch(first) is not None

        async def settled() -> bool:
            found = await house.gateway.greetings.asset("shop")
            standing = await house.gateway.catalog.greetings.standing("shop")
            return found is not None and found.text == crashing.NEW_TEXT and standing.before is None

        async with house.gateway.queue.tended(), house.gateway.greetings.tended():
            await until(settled)
        assert vendors.counts.texts[crashing.TEXT] == 1
        assert vendors.counts.texts[crashing.NEW_TEXT] <= (2 if then == "old" else 1)
        refuse_unsound(tmp_path / "data")
