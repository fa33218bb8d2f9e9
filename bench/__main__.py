"""`make bench [ONLY=hits,misses]`: measures, prints, and writes what it measured into bench/RESULTS.md."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from bench import (
    chain,
    counts,
    crowd,
    figures,
    hits,
    importing,
    lane,
    lookup,
    machinery,
    misses,
    recovery,
    replay,
    replicas,
    scale,
    seeding,
    simulation,
    soak,
    variants,
)

SECTIONS = {
    "hits": ("Memory hits, 30 KB mp3, 16 connections, one core each", hits.run),
    "lane": ("The hot lane: one worker, one core, a key, counting and limits on", lane.run),
    "soak": ("A million mixed requests", soak.run),
    "misses": ("A miss beside the upstream itself", misses.run),
    "crowd": ("500 listeners on one cold text, first byte at 1 s", crowd.run),
    "lookup": ("The catalog (SQLite in WAL)", lookup.run),
    "scale": ("A million assets beside ten thousand, on both engines; upkeep under load", scale.run),
    "figures": ("/api/cache-stats before a million assets", figures.run),
    "recovery": ("Hits after a part of the cache is back", recovery.run),
    "replicas": ("Replicas on PostgreSQL and Redis", replicas.run),
    "seeding": ("Ten thousand texts spoken ahead of time", seeding.run),
    "importing": ("100,000 small recordings brought along from a table", importing.run),
    "chain": ("A chain whose first provider is known dead", chain.run),
    "variants": ("Another format of a kept 10 s clip", variants.run),
    "replay": ("Dialogue replayed before a vendor that bills by the character", replay.run),
    "simulation": ("10^9 assets and 10^5 requests a second, reckoned", simulation.run),
    "counts": ("What has no tolerance", counts.run),
}
RESULTS = Path(__file__).with_name("RESULTS.md")
_SECTION = re.compile(r"^## (.+?)\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Runs the sections that `ONLY` names, or all."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(machinery.LOAD)})  # what asks stays off the core of what answers
    console = Console()
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    for name, (title, run) in SECTIONS.items():
        if not only or name in only:
            with console.status(f"{title} …"):
                told = f"{run()}\n\nMeasured on {time.strftime('%Y-%m-%d')}.\n\n"
            console.print(Markdown(f"## {title}\n\n{told}"))
            _write({title: told})
    console.print(f"wrote {RESULTS}")


def _write(measured: Mapping[str, str]) -> None:
    """What was measured, in place of what stood there; what is of another run stays."""
    before = dict(_SECTION.findall(RESULTS.read_text())) if RESULTS.exists() else {}
    known = {**before, **measured}
    head = (
        f"# Results\n\nMeasured by `make bench` on {machinery.machine()}. Medians, with the spread of the rounds.\n\n"
    )
    told = [f"## {title}\n\n{known[title]}" for title, _ in SECTIONS.values() if title in known]
    RESULTS.write_text("".join((head, *told, RESULTS.with_name("NOTES.md").read_text())))


if __name__ == "__main__":
    main()
