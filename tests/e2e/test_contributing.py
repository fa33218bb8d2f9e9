"""What CONTRIBUTING.md shows is so: its vendor, in a package of its own, keeps the contract before its own fake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
KIND = '    kind = "acme"\n'
OPTIONS = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def package(folder: Path) -> None:
    """The page's blocks as a package of somebody else's, by the page's last word on such."""
    adapter, fake, tests = [dedent(block) for block in re.findall(r" +```python\n(.*?) +```", PAGE, re.DOTALL)]
    assert KIND in tests
    told = {
        "acme_adapter.py": adapter,
        "acme_fake.py": fake,
        "test_acme.py": f"from acme_fake import FakeAcme\n{tests.replace(KIND, KIND + '    fake = FakeAcme')}",
        "pytest.ini": OPTIONS,
        "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
        "acme-1.0.dist-info/entry_points.txt": "[sayonce.providers]\nacme = acme_adapter:AcmeProvider\n",
    }
    (folder / "acme-1.0.dist-info").mkdir()
    for name, text in told.items():
        (folder / name).write_text(text, encoding="utf-8")


def test_its_vendor_keeps_the_contract(tmp_path: Path) -> None:
    package(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    assert "skipped" not in done.stdout
