"""A part in trouble is left alone for a moment; then one caller tries it, while all others go on without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sayonce.errors import CatalogUnavailable, StorageUnavailable

# For how long a part that failed is left alone, in seconds.
_PAUSE = 1.0


class Resting:
    """Stands around every question to a database or a storage. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: CatalogUnavailable | StorageUnavailable | None = None
        self._failed_at = 0.0
        self._tried = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Asks what is asked inside, unless the part just failed: then its error is raised again, at once."""
        failed = self._failed
        if failed is not None:
            if self._tried or self._clock() - self._failed_at < _PAUSE:
                raise type(failed)(failed.message, backend=failed.backend, remedy=failed.remedy)
            self._tried = True
        try:
            yield
        except (CatalogUnavailable, StorageUnavailable) as error:
            self._failed, self._failed_at = error, self._clock()
            raise
        except Exception:
            self._failed = None  # it answered
            raise
        else:
            self._failed = None
        finally:
            if failed is not None:
                self._tried = False
