"""Takes the picture of the command line: `python -m docs.picture`. What it shows is what the commands print."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    ("say", "Say it once.", "-o", "hello.mp3"),
    ("say", "Say it once.", "-o", "hello.mp3"),
    ("say", "Guten Morgen.", "--voice", "espeak/de", "-o", "morgen.opus"),
    ("stats",),
)
# The picture fetches nothing: the reader's own monospaced font will do.
_FONTS = re.compile(r"@font-face \{.*?\n *\}\n", re.DOTALL)


def main() -> None:
    """Writes docs/command-line.svg."""
    console = Console(record=True, width=92, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"SAYONCE_DATA_DIR": f"{folder}/data", "FORCE_COLOR": "1", "COLUMNS": "92"}
        for words in COMMANDS:
            shown = " ".join(f'"{word}"' if " " in word else word for word in words)
            console.print(Text(f"$ sayonce {shown}", style="bold"))
            command = [sys.executable, "-m", "sayonce.cli", *words]
            told = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True).stdout
            console.print(Text.from_ansi(told.rstrip("\n")))
    picture = _FONTS.sub("", console.export_svg(title="sayonce", clear=False))
    Path(__file__).with_name("command-line.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
