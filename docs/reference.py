"""Writes the pages that are made from code: `make docs`. A test holds them to be current."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from sayonce.app import running
from sayonce.settings import Settings
from sayonce.settings_table import Row, table
from sayonce.telemetry.metrics import table as metrics_table

FOLDER = Path(__file__).parent

_SETTINGS = """\
# Settings

<!-- Made from src/sayonce/settings.py by `make docs`. -->

A setting comes from the environment, else from `sayonce.toml`, else it has its default. The file is the one that
`SAYONCE_CONFIG` names, else `./sayonce.toml`, else `sayonce.toml` in the platform's configuration folder
(`~/.config/sayonce` on Linux). `sayonce settings` shows what holds, with secrets struck out, and says what a gateway
would not start with. A name that there is not is an error, so a slip of the pen is never silently ignored.

Times are in seconds, sizes in bytes or as `256 MB`.

| in `sayonce.toml` | in the environment | default | what it is |
| --- | --- | --- | --- |
{rows}

## Upstreams

An upstream is one who speaks, under a name of its own. `espeak` is always there (with the extra `local`), `openai` as
soon as `OPENAI_API_KEY` or `OPENAI_BASE_URL` is set; a table of the same name adds to it. A table that has a
provider's own name need not say its `provider`.

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
| `concurrency` | no limit | the most requests at a time with this key, over all replicas in one Redis; others wait |

| with `provider = "openai"` | default | what it is |
| --- | --- | --- |
| `base_url` | OpenAI's own | up to and with `/v1` |
| `model`, `voice` | first of `models` or `tts-1`, first of `voices` or `alloy` | the defaults |
| `models` | any is passed on | those there are; others are refused before a call |
| `fields` | none | further fields of the body that it accepts |
| `formats` | all of OpenAI's | those that it can make; others are transcoded |

| with `provider = "elevenlabs"` | default | what it is |
| --- | --- | --- |
| `model`, `voice` | `eleven_multilingual_v2`, the first of `voices` or Rachel | the defaults |
| `timestamps` | `true` | whether characters' times are asked for with every text, and kept |
| `enable_logging` | the account's | `false`: the vendor keeps nothing (its enterprise customers) |

| with `provider = "deepgram"` | default | what it is |
| --- | --- | --- |
| `voice` | `aura-asteria-en` | what Deepgram calls a model |
| `mip_opt_out` | the account's | `true`: the vendor learns nothing from the texts, and takes more |

| with `provider = "replicate"` | default | what it is |
| --- | --- | --- |
| `version` | Kokoro-82M | `owner/name:id`, or `owner/name` of an official model |
| `voices`, `voice` | Kokoro's, `af_nicole` | as above |
| `wait` | `60` | seconds that Replicate is asked to hold its answer back |
| `poll`, `longest` | `0.25`, `300` | the first pause before a look at a prediction, and how long it may take |
| `output_hosts` | `replicate.delivery` and what is under it | where audio may lie, beside its own address |

| with `provider = "declared"` (or `"wispr"`) | default | what it is |
| --- | --- | --- |
| `url` | none | where to ask; `{{voice}}` and other placeholders are escaped |
| `method` | `POST` | or `GET`, `PUT` |
| `query` | none | a table of parameters |
| `body`, `form`, `raw` | none | one of them: JSON, a form, plain text |
| `audio` | `body` | or a path into the answer's JSON: `data.audio`, `output.0` |
| `audio_encoding` | `base64` | how it stands there: `base64`, `hex`, or as a `url` |
| `output_hosts` | none | where such a URL may lead, beside the API's own address |
| `formats` | `{{mp3 = "mp3"}}` | its word for each format that it can make |
| `models`, `options` | none | those there are; options are named by `{{options.…}}` |
| `min_speed`, `max_speed` | `1`, `1` | the speeds that it takes |

Placeholders: `{{text}}`, `{{voice}}`, `{{model}}`, `{{language}}`, `{{speed}}`, `{{pitch}}`, `{{style}}`,
`{{instructions}}`, `{{format}}`, `{{api_key}}` and `{{options.…}}`. One that has no value leaves its entry out.

```toml
[upstreams.parrot]
provider = "declared"
url = "https://api.parrot.example/v2/tts/{{voice}}"
api_key = "…"
headers = {{ authorization = "Key {{api_key}}" }}
body = {{ text = "{{text}}", rate = "{{speed}}", format = "{{format}}" }}
formats = {{ mp3 = "mp3_44100", wav = "wav" }}
voices = ["ann", "bob"]
min_speed = 0.5
max_speed = 2.0
```

| with `provider = "espeak"` | default | what it is |
| --- | --- | --- |
| `workers` | `2` | how many texts are spoken at a time |
| `voice` | `alloy` | where a request names none |
| `identity` | `espeak` | as above |

## The chain

```toml
chain = ["replicate", "deepgram"]       # or SAYONCE_CHAIN=replicate,deepgram

[voices."replicate/af_nicole"]          # this voice of one stands for that of another
deepgram = "aura-2-thalia-en"

[voices."elevenlabs/21m00Tcm4TlvDq8ikWAM"]   # whoever asks in ElevenLabs' dialect for this voice
espeak = "en-gb"
```

Where the first fails before its first byte, the next speaks, under its own name, and what it says is kept as its own.
An upstream that fails `breaker_failures` times in a row, or half of the time, is left alone for `breaker_rest`
seconds, then tried once; one that asks for patience (429 with Retry-After) is left alone for as long as it asks. A
request names a chain of its own in `chain` or `X-Sayonce-Chain`; a tenant has one by
`sayonce keys tenant my-app --chain replicate,deepgram`.

## Cleaning

`cleaning` in a request, or `X-Sayonce-Cleaning`, is `off`, `rules` or `chat`. The last asks a language model:

| in `[cleaner]` | default | what it is |
| --- | --- | --- |
| `base_url` | OpenAI's | of any chat endpoint of its dialect |
| `api_key` | none | sent as `Authorization: Bearer …` |
| `model` | `gpt-4o-mini` | who cleans |
| `timeout` | `2` | seconds for the whole; then the rules clean |
| `prompt` | our own | what it is told |

## Storages

A storage is one place for audio. `local` is always there, in the folder `audio` of `data_dir`.

```toml
storage = "big_disk"

[storages.big_disk]
backend = "local"                       # or "memory", which forgets
root = "/srv/speech"
```

What they cost a month, `sayonce stats` reckons by [list prices](../src/sayonce/storage/prices.toml) of a US region
(S3, GCS, Supabase; local disks, memory and the database cost nothing there), or by your own:

```toml
[storage_prices]                        # USD a GB and month, by a storage's name or backend
s3 = 0.0125
big_disk = 0.04
```

A storage of GCS that is called `nearline` or `coldline` has that class's price. An S3 that is not Amazon's has none
until you say it: its cost is `unknown`.

`lifecycle` in a storage's table says what its bucket is to do with what is old, where it can: a list of
`{{days = 30, to = "NEARLINE"}}`, in the backend's own words, or `to = "delete"`. Without it there are usual ones for
S3 and GCS ([Running it](how-to/running-it.md)).
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
`sayonce_feed_lag_seconds` above 5; `sayonce_failed_attempts_total` beside `sayonce_generations_total`. As rules for
Prometheus they stand in `deploy/alerts.yml`.
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
