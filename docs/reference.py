"""Writes the pages that are made from code: `make docs`. A test holds them to be current."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from sayonce.app import running
from sayonce.settings import Row, Settings, table
from sayonce.telemetry.metrics import table as metrics_table

FOLDER = Path(__file__).parent

_SETTINGS = """\
# Settings

<!-- Made from src/sayonce/settings.py by `make docs`. -->

A setting comes from the environment, else from `sayonce.toml`, else it has its default. The file is the one that
`SAYONCE_CONFIG` names, else `./sayonce.toml`, else `sayonce.toml` in the platform's configuration folder
(`~/.config/sayonce` on Linux). `sayonce settings` shows what holds, with secrets struck out. A name that there is
not is an error, so a slip of the pen is never silently ignored.

Times are in seconds, sizes in bytes or as `256 MB`, money in USD.

| in `sayonce.toml` | in the environment | default | what it is |
| --- | --- | --- | --- |
{rows}

## Upstreams

An upstream is one who speaks, under a name of its own. `espeak` is always there (with the extra `local`), `openai` as
soon as `OPENAI_API_KEY` or `OPENAI_BASE_URL` is set; a table of the same name adds to it.

```toml
default_upstream = "kokoro"

[upstreams.kokoro]
provider = "openai"                     # any server that speaks OpenAI's dialect
base_url = "http://127.0.0.1:8880/v1"
voice = "af_heart"
price = 0.0
```

In the environment two underscores go one table down: `SAYONCE_UPSTREAMS__KOKORO__BASE_URL=…`; lists are written as
JSON: `SAYONCE_UPSTREAMS__KOKORO__VOICES='["af_heart", "af_nicole"]'`.

| with any provider over HTTP | default | what it is |
| --- | --- | --- |
| `base_url` | the vendor's own | where it is |
| `api_key` | none | the key, sent in the vendor's own header |
| `identity` | provider, host, port and path | what makes its voice its own: another identity is another recipe |
| `model`, `voice`, `language` | the provider's, see below | where a request names none |
| `voices` | any is passed on | those there are; others are refused before a call |
| `price` | the list price, if it has one | USD per million characters |
| `max_characters` | the vendor's limit | the longest text it takes |
| `headers` | none | further headers |
| `connect_timeout`, `first_byte_timeout` | `5`, `30` | seconds |
| `connections` | `64` | the most at a time |
| `concurrency` | no limit | the most requests at a time with this key; further ones wait for their turn |

| with `provider = "openai"` | default | what it is |
| --- | --- | --- |
| `base_url` | OpenAI's own | up to and with `/v1` |
| `model`, `voice` | first of `models` or `tts-1`, first of `voices` or `alloy` | the defaults |
| `models` | any is passed on | those there are; others are refused before a call |
| `fields` | none | further fields of the body that it accepts |
| `formats` | all of OpenAI's | those that it can make; others are transcoded |

| with `provider = "espeak"` | default | what it is |
| --- | --- | --- |
| `workers` | `2` | how many texts are spoken at a time |
| `voice` | `alloy` | where a request names none |
| `identity` | `espeak` | as above |

## Storages

A storage is one place for audio. `local` is always there, in the folder `audio` of `data_dir`.

```toml
storage = "big_disk"

[storages.big_disk]
backend = "local"                       # or "memory", which forgets
root = "/srv/speech"
```
"""


def settings_page() -> str:
    """The page of all settings."""
    return _SETTINGS.format(rows="\n".join(_line(row) for row in table(Settings.model_construct())))


_METRICS = """\
# Metrics

<!-- Made from src/sayonce/telemetry/metrics.py by `make docs`. -->

`GET /metrics`, for an admin's key (or for anybody on the machine itself, while no key has been made). Labels are
bounded: upstreams, outcomes and error codes, never a tenant, a voice or a text.

| metric | kind | what it tells |
| --- | --- | --- |
{rows}

Worth an alert: `sayonce_bugs_total` above 0; `sayonce_bypasses_total` rising; `sayonce_storage_writable` at 0;
`sayonce_feed_lag_seconds` above 5; `sayonce_failed_attempts_total` beside `sayonce_generations_total`.
"""


def metrics_page() -> str:
    """The page of all metrics."""
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_metrics(Path(folder)))
    return _METRICS.format(rows="\n".join(f"| `{name}` | {kind} | {what} |" for name, kind, what in rows))


async def _metrics(folder: Path) -> list[tuple[str, str, str]]:
    async with running(Settings.model_construct(data_dir=folder)) as gateway:
        return metrics_table(gateway.watch.metrics)


def _line(row: Row) -> str:
    default = row.default if " " in row.default or not row.default else f"`{row.default}`"
    return f"| `{row.name}` | `{row.environment}` | {default} | {row.description} |"


if __name__ == "__main__":
    (FOLDER / "settings.md").write_text(settings_page(), encoding="utf-8")
    (FOLDER / "metrics.md").write_text(metrics_page(), encoding="utf-8")
