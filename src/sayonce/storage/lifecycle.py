"""What a bucket is to do by itself with what is old: the rules of a storage's table, or its backend's usual ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from sayonce.errors import InvalidSettings, StorageError
from sayonce.storage.contract import LifecycleRule, Storage

#: The key of the rules in a storage's table. They are the gateway's, and no adapter is told of them.
LIFECYCLE = "lifecycle"
DELETE = "delete"

#: Where a table says nothing, by backend, with each one's own words for its cheaper classes.
USUAL: Mapping[str, tuple[LifecycleRule, ...]] = {
    "gcs": (LifecycleRule(30, "NEARLINE"), LifecycleRule(90, "COLDLINE"), LifecycleRule(365, None)),
    "s3": (LifecycleRule(30, "STANDARD_IA"), LifecycleRule(90, "GLACIER_IR"), LifecycleRule(365, None)),
}
# What has to be asked for hours before it can be read.
_UNREADABLE = {"s3": {"GLACIER", "DEEP_ARCHIVE"}}
_DAY = 86_400


def wanted(name: str, table: Mapping[str, object], keep: float | None) -> Sequence[LifecycleRule]:
    """The rules that are to hold for a storage of that table: those it tells, else its backend's usual ones, which
    delete only what is not to be kept for so long (`keep` in seconds; None is forever). Without such, none.
    InvalidSettings where what it tells are no rules."""
    told = table.get(LIFECYCLE)
    if told is not None:
        rules = _rules(name, told)
        for rule in rules:
            if rule.to in _UNREADABLE.get(str(table.get("backend")), ()):
                raise InvalidSettings(
                    f"The setting 'lifecycle' of the storage '{name}' moves audio out of reach: {rule.to}.",
                    remedy="Use GLACIER_IR, or let the rule delete.",
                )
        return rules
    usual = USUAL.get(str(table.get("backend")), ())
    return [rule for rule in usual if rule.to is not None or (keep is not None and keep < rule.days * _DAY)]


def deletes(rules: Sequence[LifecycleRule]) -> bool:
    """Whether one of the rules deletes."""
    return any(rule.to is None for rule in rules)


async def apply(storage: Storage, rules: Sequence[LifecycleRule]) -> None:
    """Lets these rules hold, and reads them back. StorageMisconfigured where there can be none, StorageError where
    others hold afterwards."""
    await storage.set_lifecycle(rules)
    if list(await storage.lifecycle() or ()) != list(rules):
        raise StorageError(
            f"The storage '{storage.name}' has other lifecycle rules than were just written to it.",
            backend=storage.backend,
            remedy="See which: sayonce lifecycle show; and whether something else writes them, too.",
        )


def shown(rule: LifecycleRule) -> str:
    """A rule for people."""
    return f"after {rule.days} days: {'delete it' if rule.to is None else rule.to}"


def _rules(name: str, told: object) -> list[LifecycleRule]:
    if not isinstance(told, list | tuple):
        raise _wrong(name)
    rules = sorted((_rule(name, each) for each in told), key=lambda rule: rule.days)
    if any(one.days == other.days or one.to is None for one, other in pairwise(rules)):
        raise _wrong(name)
    return rules


def _rule(name: str, told: object) -> LifecycleRule:
    match told:
        case {"days": int(days), "to": str(to), **rest} if days > 0 and days is not True and to and not rest:
            return LifecycleRule(days, None if to.lower() == DELETE else to)
        case _:
            raise _wrong(name)


def _wrong(name: str) -> InvalidSettings:
    return InvalidSettings(
        f"The setting 'lifecycle' of the storage '{name}' is wrong.",
        remedy='Write lifecycle = [{days = 30, to = "NEARLINE"}, {days = 365, to = "delete"}], each with days of its '
        "own, the deletion last.",
    )
