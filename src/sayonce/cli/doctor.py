"""`sayonce doctor`: is everything there that a gateway needs?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sayonce import loops
from sayonce import settings as configuration
from sayonce.telemetry import logs

if TYPE_CHECKING:
    from sayonce.checkup.findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the settings, the catalog, the storages, the providers, the clock and who is let in.

    Says of each whether it is well, and if not, what to do. Nobody is made to speak, and nothing is paid. Exits with
    0 when all is well, else with 1.
    """
    logs.configure("error", "auto")  # what is wrong is told in its place
    found, well = loops.run(_checked(quiet=as_json))
    if as_json:
        told = {"well": well, "findings": [asdict(finding) for finding in found]}
        print(json.dumps(told, indent=2))  # noqa: T201
    if not well:
        raise typer.Exit(1)


async def _checked(*, quiet: bool) -> tuple[list[Finding], bool]:
    from sayonce.checkup.rounds import check_up, is_well  # which takes a moment to load

    found: list[Finding] = []
    out, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    with progress.status("checking the settings") as status:

        def waiting(names: Sequence[str]) -> None:
            status.update(f"checking {escape(', '.join(names))}")

        async for part in check_up(configuration.load, waiting=waiting):
            found += part
            if not quiet:
                _print(out, part)
    if not quiet:
        out.print("[bold green]All is well.[/]" if is_well(found) else "[bold red]Not all is well.[/]")
    return found, is_well(found)


def _print(console: Console, findings: Sequence[Finding]) -> None:
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            console.print(f"[bold]{escape(part)}[/]", soft_wrap=True)
        verdict = f"[{_COLOURS[finding.verdict]}]{finding.verdict:<8}[/]"
        console.print(f"  {verdict} {escape(finding.what)}: {escape(finding.said)}", soft_wrap=True)
        if finding.remedy:
            console.print(f"           [bold]{escape(finding.remedy)}[/]", soft_wrap=True)
