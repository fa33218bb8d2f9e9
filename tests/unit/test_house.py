"""The house's own rules, as far as a machine can hold them; the rest is ruff's, mypy's and import-linter's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sayonce.providers import registry as providers
from sayonce.storage import registry as storages

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sayonce"
LOCKS = [ROOT / "requirements.lock", ROOT / "bench" / "requirements.lock"]
LONGEST_MODULE = 400
MOST_ARGUMENTS = 5
# In parts, so that this file does not name them itself.
REGISTRIES = [
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("crates", "io"))
]
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(\[[a-z0-9,-]+\])?==(?P<version>[^ ;]+)(?P<rest>.*)$", re.DOTALL)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@cache
def committed() -> list[Path]:
    """Every text file that is committed, or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# ── small modules, plain names ───────────────────────────────────────────────────────────────────


def test_no_module_is_long() -> None:
    long = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_MODULE} == {}


def test_no_constructor_takes_many_arguments() -> None:
    many = [
        f"{relative(path)}: {thing.name}"
        for path in modules()
        for thing in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(thing, ast.ClassDef) and _arguments(thing) > MOST_ARGUMENTS
    ]
    assert many == []


def _arguments(thing: ast.ClassDef) -> int:
    made = [part for part in thing.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    return max((len(each.args.posonlyargs + each.args.args + each.args.kwonlyargs) - 1 for each in made), default=0)


def test_no_module_is_named_for_nothing() -> None:
    empty = re.compile(r"utils?|managers?|helpers?|common|misc")
    assert [
        relative(path) for path in modules() if empty.fullmatch(path.stem) or empty.fullmatch(path.parent.name)
    ] == []


def test_nothing_below_the_doors_imports_the_root_of_the_package() -> None:
    above = {"app.py", "client.py", "cli", "api", "testing", "__init__.py"}
    below = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in above]
    assert len(below) > 50
    assert [relative(path) for path in below if "sayonce" in _imported(path)] == []


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


@pytest.mark.parametrize(
    "module", sorted({place.partition(":")[0] for place in [*providers.OURS.values(), *storages.OURS.values()]})
)
def test_no_adapter_is_left_out_of_the_import_contracts(module: str) -> None:
    told = project()["tool"]
    assert isinstance(told, dict)
    name = "Adapters know nothing of each other"
    [contract] = [each for each in told["importlinter"]["contracts"] if each["name"] == name]
    assert module in contract["modules"], f"add {module} to '{name}' in pyproject.toml"


# ── what is locked ───────────────────────────────────────────────────────────────────────────────


def pins(lock: Path) -> dict[str, list[str]]:
    """The lines of a lock by the name they pin, each with its continuation."""
    found: dict[str, list[str]] = {}
    for line in lock.read_text(encoding="utf-8").replace("\\\n", "").splitlines():
        pin = PIN.match(line)
        assert pin, f"{relative(lock)} does not pin: {line[:80]}"
        found.setdefault(canonicalize_name(pin["name"]), []).append(line)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=relative)
def test_every_line_of_a_lock_has_its_hashes(lock: Path) -> None:
    locked = pins(lock)
    assert len(locked) > 10
    assert [name for name, lines in locked.items() if not all(HASH.search(line) for line in lines)] == []


def required() -> list[Requirement]:
    """What the project, its extras and its tools require."""
    told = project()["project"]
    groups = project()["dependency-groups"]
    assert isinstance(told, dict)
    assert isinstance(groups, dict)
    texts = [*told["dependencies"], *(text for extra in told["optional-dependencies"].values() for text in extra)]
    texts += groups["dev"]
    return [Requirement(text) for text in texts if not text.startswith("sayonce[")]


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_what_is_required_is_locked(requirement: Requirement) -> None:
    lines = pins(LOCKS[0]).get(canonicalize_name(requirement.name), [])
    versions = [Version(pin["version"]) for line in lines if (pin := PIN.match(line))]
    assert versions, "run: make lock"
    assert all(version in requirement.specifier for version in versions), "run: make lock"


def test_no_file_names_an_index() -> None:
    naming = [
        relative(path)
        for path in committed()
        if any(registry in path.read_text(encoding="utf-8") for registry in REGISTRIES)
    ]
    assert naming == []


@pytest.mark.parametrize("lock", LOCKS, ids=relative)
def test_no_lock_names_a_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert [word for word in ("://", "file:", " @ ", "--find-links", "--index") if word in text] == []


# ── what is written about it ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["make run", "make test", "make bench", "OPENAI_BASE_URL", "pip install"])
def test_the_readme_says_how(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_knows_this_version() -> None:
    told = project()["project"]
    assert isinstance(told, dict)
    assert f"## [{told['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [path for path in committed() if path.suffix == ".md"], ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    linked = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers
    assert numbers == list(range(numbers[0], len(numbers) + numbers[0]))


# ── how it is checked ────────────────────────────────────────────────────────────────────────────


def test_make_tells_of_every_target() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.split()[0] for line in told.splitlines()} == set(phony.split())


@pytest.mark.parametrize(("strict", "code"), [("", 0), ("1", 1)])
def test_a_skip_fails_where_none_may_be(strict: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_sessionfinish\n")
    (tmp_path / "test_it.py").write_text("import pytest\n\ndef test_it():\n    pytest.skip('not here')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "NO_SKIPS": strict},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 skipped" in done.stdout
    assert done.returncode == code


def test_every_test_that_the_compatibility_table_names_is_there() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    named = re.findall(r"`(\w+\.py)::(\w+)`", page)
    assert len(named) > 50
    sources: dict[str, str] = defaultdict(str)
    for path in [*(ROOT / "tests").rglob("*.py"), *(PACKAGE / "testing").rglob("*.py")]:
        sources[path.name] += path.read_text(encoding="utf-8")
    missing = [f"{file}::{test}" for file, test in named if not re.search(rf"\b{test}\b", sources[file])]
    assert missing == [], "docs/compatibility.md names a test that there is not"
    heads = ("| wire", "| | |")
    untested = [row for row in rows if "::" not in row and not row.startswith(heads)]
    assert untested == [], "docs/compatibility.md has a row that names no test"
