"""The catalog's rows as the rest of sayonce sees them. Times are seconds since 1970, money is in
millionths of the settings' currency."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sayonce.speech.chunks import Mark
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope, SpeechRequest
from sayonce.speech.voices import VoiceSettings

#: Money is counted in so many parts of a unit of the currency.
MICROS = 1_000_000

#: The kinds of use that a session's turn, a collection's text and a business's greeting are.
TURN, COLLECTION, GREETING = "turn", "collection", "greeting"

#: The use of a landing for which the uses that wished for it will do, where there still are such.
WISHED = "wished"

#: The kinds of which it stays known what it takes to make them: they may be to be made again.
LASTING = (COLLECTION, GREETING)


@dataclass(frozen=True, slots=True)
class Blob:
    """One copy of an asset's bytes. `path` is as it was written, never recomputed."""

    storage: str
    path: str
    digest: bytes
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Asset:
    """What is kept of one content hash. `cost` is None where no price is known."""

    content_hash: bytes
    recipe_hash: bytes
    format: AudioFormat
    owner: Owner
    upstream: str
    model: str | None
    voice: str | None
    language: str | None
    text: str | None
    characters: int
    size: int
    digest: bytes
    duration: float
    sample_rate: int
    marks: tuple[Mark, ...]
    cost: int | None
    transcoded: bool
    flags: frozenset[str]
    made_at: float
    until: float | None
    blobs: tuple[Blob, ...]

    def lives(self, now: float) -> bool:
        """Whether it may still be served."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Use:
    """Why an asset is kept, and for how long. A plain request's is `Use("request")`."""

    kind: str
    name: str = ""
    sequence: int = 0
    speaker: str | None = None
    keep_until: float | None = None
    #: For how many seconds more each hit lets it be kept; None: none does.
    sliding: float | None = None
    pinned: bool = False
    #: When it was; None: when it is written down.
    at: float | None = None
    #: The storage and the path of a copy that lies there for this use.
    place: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A use of what is yet to be made: `request` is what it takes to make it. `use.keep_until` is as if it were made
    at `use.at`: how long it is kept counts from when it is made. It is `due` from then on; None: not until somebody
    says so."""

    content_hash: bytes
    recipe_hash: bytes
    request: SpeechRequest
    use: Use
    due: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of a tenant's texts."""

    tenant: str
    name: str

    @property
    def key(self) -> str:
        """The name of its texts' uses."""
        return json.dumps([self.tenant, self.name])


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation of a tenant, or of one of its users. Two of one name are two, if they are not the same one's."""

    tenant: str
    name: str
    user: str | None = None

    @property
    def key(self) -> str:
        """The name of its turns' uses."""
        return json.dumps([self.tenant, self.user, self.name])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which assets are meant: those of which all that is told holds. `made_before` is in seconds since 1970."""

    tenant: str | None = None
    collection: str | None = None
    session: str | None = None
    user: str | None = None
    voice: str | None = None
    upstream: str | None = None
    made_before: float | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """What a landing changed besides: blobs that no row names any more, and the content hashes of assets whose own
    place was taken over; the recipes that so lost assets, and the leases that keep everybody from landing these while
    the blobs are deleted."""

    orphans: tuple[Blob, ...]
    displaced: tuple[bytes, ...] = ()
    gone: frozenset[bytes] = frozenset()
    holds: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True)
class TakeOff:
    """The wish to fly a recipe. `estimate` is reserved from the tenant's budget until the landing."""

    recipe_hash: bytes
    content_hash: bytes
    tenant: str
    holder: str
    estimate: int = 0
    refresh: bool = False
    #: A refresh that someone else landed after this moment will do; None where none does.
    since: float | None = None
    #: Whether another format of the recipe will do (it is transcoded) or only the very asset.
    any_format: bool = True
    #: A month's, in the currency, where the tenant has none of its own; None: none.
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fly one recipe, until `expires` unless renewed. Only the newest `fence` lands; the negative one of
    a lease of last resort, which no catalog has given, never does."""

    recipe_hash: bytes
    fence: int
    expires: float

    @property
    def last_resort(self) -> bool:
        """Whether it only keeps others from flying, while no catalog can tell."""
        return self.fence < 0


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out of the catalog; the bytes of `orphans` are to be deleted next, before `holds` expire, which
    keep everybody from landing what was removed; then they are to be given back."""

    assets: int = 0
    bytes: int = 0
    orphans: tuple[Blob, ...] = ()
    holds: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else flies: wait for fence `fence`, or until it expires."""

    fence: int
    expires: float
    refresh: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """It is kept already: the assets of the recipe, one a format."""

    assets: tuple[Asset, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a flight stands that somebody else leads. `failure` is how it ended, where it did; `refresh` whether it
    is to take the place of what is kept; `over` whether it has ended, is kept nowhere, and may be heard for a while
    all the same."""

    fence: int
    expires: float
    failure: str | None
    refresh: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """What a generation cost and whose it was, for rollups and budgets."""

    tenant: str
    upstream: str
    model: str | None
    voice: str | None
    characters: int
    cost: int | None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer of the gateway. None: the settings' default."""

    id: str
    rate: float | None = None
    burst: float | None = None
    budget: float | None = None
    public: bool = False
    disabled: bool = False
    #: Who speaks for it, and who in whose place; empty: the settings' chain.
    chain: tuple[str, ...] = ()
    #: How its greeting and its calls are spoken.
    voice: VoiceSettings = VoiceSettings()
    #: What callers are greeted with; None: nothing.
    greeting: str | None = None

    def request(self, text: str) -> SpeechRequest:
        """A text as this tenant speaks it, for itself alone."""
        return self.voice.request(text, Owner(self.id))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's row; the key itself is nowhere."""

    id: str
    tenant: str
    label: str
    roles: frozenset[str]
    made_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log."""

    sequence: int
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What usage is counted by. `hour` is the hour's first second."""

    hour: int
    tenant: str
    upstream: str
    model: str
    voice: str


@dataclass(slots=True)
class UsageCount:
    """How often, how much. `saved` is what hits and joins would have cost."""

    hits: int = 0
    joined: int = 0
    misses: int = 0
    bypassed: int = 0
    errors: int = 0
    characters: int = 0
    spent_micros: int = 0
    saved_micros: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """What a storage holds: copies, and their bytes."""

    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How an asset is used. `text` is None where texts are not kept; `used_at` is when its last use was counted, and
    `until` is None where it is kept forever."""

    content_hash: bytes
    owner: Owner
    upstream: str
    voice: str | None
    text: str | None
    size: int
    duration: float
    hits: int
    used_at: float
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the catalog holds and has counted, of one tenant or of all. `hits` are those of what is kept, `heard` the
    seconds of speech that they were; `expired` is what upkeep will remove; `most_used` names the ids of entries."""

    assets: int = 0
    bytes: int = 0
    duration: float = 0.0
    hits: int = 0
    heard: float = 0.0
    expired: int = 0
    pinned: int = 0
    most_used: tuple[int, ...] = ()
    count: UsageCount = field(default_factory=UsageCount)
    by_upstream: Mapping[str, UsageCount] = field(default_factory=dict)
    by_voice: Mapping[str, UsageCount] = field(default_factory=dict)  # upstream/voice
    by_day: Mapping[str, UsageCount] = field(default_factory=dict)  # 2026-11-21, in UTC
    by_tenant: Mapping[str, UsageCount] = field(default_factory=dict)
    by_storage: Mapping[str, Holding] = field(default_factory=dict)


def alone_with(asset: Asset, who: str) -> TakeOff:
    """The wish to be alone with an asset's recipe, whatever is kept of it. Nobody's budget pays for it."""
    holder = f"{who} {secrets.token_hex(4)}"
    return TakeOff(asset.recipe_hash, asset.content_hash, asset.owner.tenant, holder, refresh=True)


@lru_cache(1_024)  # a tenth of what it takes to make an asset of a row
def owner_of(tenant: str, scope: str, owner: str | None) -> Owner:
    """The owner whose user's or session's name stands in a row's one column."""
    kind = Scope(scope)
    return Owner(
        tenant=tenant,
        scope=kind,
        user=owner if kind is Scope.USER else None,
        session=owner if kind is Scope.SESSION else None,
    )
