"""The wheel as users get it: built, and installed where nothing but its own requirements is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import wave
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
TEXT = "Say it once, serve it forever."
INSTALL = "pip install 'sayonce[local]'"


@dataclass(frozen=True)
class Installed:
    """A venv with the wheel in it, and a home of its own."""

    home: Path

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the machine's settings, and nothing of the checkout."""
        return {"PATH": os.defpath, "HOME": str(self.home), "SAYONCE_DATA_DIR": str(self.home / "data")}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.home / "bin" / program, *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=100,
        )

    @contextmanager
    def serving(self) -> Iterator[str]:
        """`sayonce serve` on a free port; gives its base URL."""
        with subprocess.Popen(
            [self.home / "bin" / "sayonce", "serve", "--port", "0"],
            env=self.environment,
            cwd=self.home,
            stderr=subprocess.PIPE,
            text=True,
        ) as gateway:
            try:
                yield _address(gateway)
            finally:
                gateway.terminate()
                _, told = gateway.communicate(timeout=60)
                assert "Traceback" not in told


def _address(gateway: subprocess.Popen[str]) -> str:
    assert gateway.stderr is not None
    told = ""
    for line in gateway.stderr:
        told += line
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError(f"it does not serve: {told}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the locked tools."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Installed]:
    """Installs the wheel with these extras into a clean venv."""

    def install(*extras: str) -> Installed:
        place = Installed(tmp_path_factory.mktemp("venv") / "venv")
        _uv("venv", "--python", sys.executable, str(place.home))
        for name in sorted(_closure(wheel, set(extras))):
            _link(name, _site_packages(place))
        _uv("pip", "install", "--offline", "--no-deps", "--python", str(place.python), str(wheel))
        return place

    return install


@pytest.fixture(scope="module")
def bare(installed: Callable[..., Installed]) -> Installed:
    """The wheel without extras."""
    return installed()


@pytest.fixture(scope="module")
def local(installed: Callable[..., Installed]) -> Installed:
    """The wheel with `[local]`."""
    return installed("local")


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _uv(*arguments: str) -> None:
    _run(sys.executable, "-m", "uv", "--quiet", "--no-config", *arguments)


def _site_packages(place: Installed) -> Path:
    (found,) = place.home.glob("lib/python*/site-packages")
    return found


def _closure(wheel: Path, extras: set[str]) -> set[str]:
    """The names of all that the wheel requires, and what these do, as installed here: no index is asked."""
    (built,) = distributions(path=[str(wheel)])
    wanted = _required(built, extras)
    found: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        if requirement.name not in found:
            found.add(requirement.name)
            wanted += _required(distribution(requirement.name), requirement.extras)
    return found


def _required(dist: Distribution, extras: set[str]) -> list[Requirement]:
    """What it requires with these extras, on this machine."""
    told = [Requirement(text) for text in dist.requires or ()]
    chosen = [{"extra": extra} for extra in {"", *extras}]
    return [each for each in told if each.marker is None or any(each.marker.evaluate(extra) for extra in chosen)]


def _link(name: str, site_packages: Path) -> None:
    """Puts an installed distribution's packages into another venv."""
    here = Path(sysconfig.get_path("purelib"))
    tops = {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}
    for top in tops:
        if not (site_packages / top).exists():
            (site_packages / top).symlink_to(here / top)


# ── what is in it ────────────────────────────────────────────────────────────────────────────────


def test_it_carries_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()}
    assert carried == {name for name in ours if "__pycache__" not in name}
    assert "sayonce/py.typed" in carried
    assert "sayonce/catalog/migrations/script.py.mako" in carried


def test_it_carries_its_licence_and_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert b"Apache License" in archive.read(licence)
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        told = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in told
    assert "Provides-Extra: local" in told


# ── without extras ───────────────────────────────────────────────────────────────────────────────


def test_without_extras_every_module_imports_from_the_wheel_alone(bare: Installed) -> None:
    everything = (
        "import importlib, pkgutil, sayonce\n"
        "from sayonce.errors import MissingExtra\n"
        "print(sayonce.__file__)\n"
        "programs = '__main__', 'migrations.env', 'espeak_worker'\n"
        "for module in pkgutil.walk_packages(sayonce.__path__, 'sayonce.'):\n"
        "    if not (module.name.endswith(programs) or module.name.startswith('sayonce.testing')):\n"
        "        try:\n"
        "            importlib.import_module(module.name)\n"
        "        except (MissingExtra, ModuleNotFoundError) as error:\n"
        "            print(module.name, getattr(error, 'extra', error.args[0]))\n"
        "assert importlib.util.find_spec('espeakng_loader') is None\n"
    )
    done = bare.run("python", "-W", "error", "-c", everything)
    assert done.returncode == 0, done.stderr
    where, *missing = done.stdout.splitlines()
    assert where.startswith(str(_site_packages(bare)))
    told = dict(line.removeprefix("sayonce.").split(" ", 1) for line in missing)
    assert told["catalog.postgres"] == "postgres"
    for extra in ("s3", "gcs", "obstore", "supabase", "databricks"):
        assert told[f"storage.{extra}"] == extra
    assert {module.partition(".")[0] for module in told} <= {"batch", "catalog", "cluster", "storage"}


def test_without_extras_the_command_teaches(bare: Installed) -> None:
    done = bare.run("sayonce", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("serve", "say", "voices", "stats", "keys", "settings"):
        assert command in done.stdout


def test_a_missing_extra_says_exactly_what_to_install(bare: Installed) -> None:
    done = bare.run("sayonce", "say", TEXT)
    assert done.returncode != 0
    assert INSTALL in done.stderr
    assert "Traceback" not in done.stderr


def test_without_extras_it_serves_and_tells_callers_what_is_missing(bare: Installed) -> None:
    with bare.serving() as url:
        assert httpx.get(f"{url}/api/health").json()["service"] == "sayonce"
        asked = {"model": "tts-1", "voice": "nova", "input": TEXT}
        answer = httpx.post(f"{url}/v1/audio/speech", json=asked, timeout=60)
    assert answer.status_code == 503
    assert INSTALL in answer.json()["error"]["message"]


# ── with [local] ─────────────────────────────────────────────────────────────────────────────────


def test_with_local_it_speaks_and_keeps_what_it_said(local: Installed) -> None:
    first, second = (local.run("sayonce", "say", TEXT, "-o", f"{take}.wav") for take in (1, 2))
    assert first.returncode == 0, first.stderr
    assert "miss" in first.stdout
    assert "hit" in second.stdout
    with wave.open(str(local.home / "1.wav")) as audio:
        assert 1 < audio.getnframes() / audio.getframerate() < 6
    assert (local.home / "1.wav").read_bytes() == (local.home / "2.wav").read_bytes()


def test_with_local_it_serves_the_openai_door(local: Installed) -> None:
    asked = {"model": "tts-1", "voice": "nova", "input": f"At the door: {TEXT}"}
    with local.serving() as url:
        answers = [httpx.post(f"{url}/v1/audio/speech", json=asked, timeout=60) for _ in range(2)]
    assert [answer.headers["x-tts-cache"] for answer in answers] == ["miss", "hit"]
    heard, kept = (answer.content for answer in answers)
    assert kept.endswith(heard), "what is kept begins with a frame that tells how long it is"
