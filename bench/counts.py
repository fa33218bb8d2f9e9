"""What has no tolerance: calls, losses, leaks. Counted by the tests that hold it, run here once more."""

from __future__ import annotations

import re
import subprocess
import sys

FILES = ("tests/e2e/test_processes.py", "tests/e2e/test_crashes.py")
CLAIMS = {
    "test_two_gateways_and_a_command_pay_once": "two gateways and a `sayonce say`, one cold text at once: 1 call",
    "test_an_owner_that_overslept_its_lease_lands_nothing": "an owner stopped past its lease wakes: it lands nothing",
    "test_a_dead_owners_lease_expires_and_a_waiter_flies": "a dead owner's waiter flies: at most 2 calls",
    "test_a_crash_while_keeping": "a crash at each step of keeping: nothing partial, nothing lost",
    "test_a_crash_while_refreshing": "a crash at each step of refreshing: the old or the new, whole",
    "test_a_crash_while_deleting": "a crash at each step of deleting: no row without its blob",
    "test_the_order_of_a_landing_by_its_system_calls": "write, fsync, rename, fsync folder, commit: in that order",
    "test_kill_9_at_random_moments_under_load": "`kill -9` at 50 random moments: nothing kept is lost or paid again",
}


def run() -> str:
    """The table, in Markdown."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", *FILES]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = ["| | held |", "| --- | ---: |"]
    for test, claim in CLAIMS.items():
        held = len(re.findall(rf"^PASSED .*::{test}\b", told, re.MULTILINE))
        asked = held + len(re.findall(rf"^(?:FAILED|ERROR) .*::{test}\b", told, re.MULTILINE))
        lines.append(f"| {claim} | {held} of {asked} |")
    return "\n".join(lines)
