"""The command line: one file a command."""

from __future__ import annotations

import sys

import typer

from sayonce.cli import (
    adopt,
    db,
    doctor,
    exporting,
    importing,
    keys,
    lifecycle,
    moving,
    say,
    seed,
    serve,
    settings,
    stats,
    upkeep,
    voices,
    worker,
)
from sayonce.errors import SayonceError
from sayonce.telemetry import logs

app = typer.Typer(
    help="Say it once, serve it forever: cached speech for any OpenAI client, from any vendor or none.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("say")(say.say)
app.command("seed")(seed.seed)
app.command("voices")(voices.voices)
app.command("stats")(stats.stats)
app.add_typer(keys.app, name="keys")
app.command("upkeep")(upkeep.upkeep)
app.command("invalidate")(upkeep.invalidate)
app.add_typer(db.app, name="db")
app.command("doctor")(doctor.doctor)
app.command("adopt")(adopt.adopt)
app.command("import")(importing.bring)
app.command("export")(exporting.export)
app.command("move")(moving.move)
app.add_typer(lifecycle.app, name="lifecycle")
app.command("settings")(settings.show)


def main() -> None:
    """Runs a command. What was wrong is one sentence and what to do; the exit code is 2 for a wrong request or
    setting, 1 for what failed."""
    logs.configure("warning", "auto")
    try:
        app()
    except SayonceError as error:
        typer.secho(str(error), fg="red", err=True)
        sys.exit(2 if 400 <= error.status < 500 or error.code == "invalid_settings" else 1)
    except KeyboardInterrupt:
        sys.exit(130)
