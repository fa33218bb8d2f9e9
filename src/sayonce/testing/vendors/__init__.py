"""Vendors that answer as the real ones do, count what they are asked, and misbehave on demand.

`python -m sayonce.testing.vendors` runs them in a process of their own; `GET /control` gives the counts and
`POST /control` sets how they behave from then on.
"""

from sayonce.testing.vendors.app import FakeVendors
from sayonce.testing.vendors.behaviour import Behaviour, Counts, Gate

__all__ = ["Behaviour", "Counts", "FakeVendors", "Gate"]
