"""Takes the pictures of the command line: `python -m docs.picture`. What they show is what the commands print."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sayonce.client import SyncEmbeddedClient
from sayonce.settings import load

COMMANDS = (
    ("say", "Say it once.", "-o", "hello.mp3"),
    ("say", "Say it once.", "-o", "hello.mp3"),
    ("say", "Guten Morgen.", "--voice", "espeak/de", "-o", "morgen.opus"),
)
SEEDED = (
    ("seed", "examples/life-review.yaml", "--plan"),
    ("seed", "examples/life-review.yaml"),
    ("seed", "examples/life-review.yaml"),
)
# How often which text is asked for in which voice, before the figures of it are shown.
HEARD = (
    ("Welcome. Press one for opening hours, two to speak with us.", "nova", 212),
    ("Please hold the line, somebody will be with you in a moment.", "nova", 131),
    ("What is the earliest thing that you remember?", "onyx", 48),
    ("Who taught you what you know best?", "onyx", 35),
    ("Guten Morgen.", "espeak/de", 12),
    ("Your appointment is on Tuesday, the fourth of May, at a quarter past nine.", "nova", 2),
    ("This was asked for once.", "nova", 1),
)
# The picture fetches nothing: the reader's own monospaced font will do.
_FONTS = re.compile(r"@font-face \{.*?\n *\}\n", re.DOTALL)


def main() -> None:
    """Writes docs/command-line.svg, docs/seeding.svg and docs/stats.svg."""
    with tempfile.TemporaryDirectory() as folder:
        _take("command-line", COMMANDS, folder, {"SAYONCE_DATA_DIR": f"{folder}/data"})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "examples").symlink_to(Path(__file__).parents[1] / "examples")
        _take("seeding", SEEDED, folder, {"SAYONCE_DATA_DIR": f"{folder}/data"})
    with tempfile.TemporaryDirectory() as folder, _vendor() as url:
        settings = {"data_dir": f"{folder}/data", "openai_base_url": f"{url}/v1", "openai_api_key": "sk-picture"}
        with SyncEmbeddedClient(load(**settings, upstreams={"openai": {"price": 15}})) as say:
            for text, voice, times in HEARD:
                for _ in range(times):
                    say.speech(text, voice=voice)
        _take("stats", (("stats",),), folder, {"SAYONCE_DATA_DIR": f"{folder}/data"})


def _take(name: str, commands: Sequence[Sequence[str]], folder: str, settings: Mapping[str, str]) -> None:
    """Writes the picture of that name, of what these commands print."""
    console = Console(record=True, width=92, file=io.StringIO())
    env = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "92"} | settings
    for words in commands:
        shown = " ".join(f'"{word}"' if " " in word else word for word in words)
        console.print(Text(f"$ sayonce {shown}", style="bold"))
        command = [sys.executable, "-m", "sayonce.cli", *words]
        told = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True).stdout
        console.print(Text.from_ansi(told.rstrip("\n")))
    picture = _FONTS.sub("", console.export_svg(title="sayonce", clear=False))
    Path(__file__).with_name(f"{name}.svg").write_text(picture, encoding="utf-8")


@contextmanager
def _vendor() -> Iterator[str]:
    """A fake vendor, since a real one would have to be paid."""
    running = subprocess.Popen([sys.executable, "-m", "sayonce.testing.vendors"], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait(20)


if __name__ == "__main__":
    main()
