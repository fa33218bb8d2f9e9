"""A part that kept somebody waiting for nothing is left alone for a moment; then one caller tries it, while all
others go on without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sayonce.errors import CallerRefused, CatalogUnavailable, ClusterUnavailable, StorageUnavailable

# For how long such a part is left alone, in seconds, and after what waiting. What fails at once may be asked at once:
# it costs nothing, and one failure must not keep others from what is kept.
_PAUSE, _LONG = 1.0, 0.25

_Unavailable = CatalogUnavailable | ClusterUnavailable | StorageUnavailable


class Resting:
    """Stands around every question to a database, a storage or Redis. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: _Unavailable | None = None
        self._failed_at = 0.0
        self._tried = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Asks the part what is asked inside, unless it rests: then its last error is raised again, at once."""
        failed, began = self._failed, self._clock()
        if failed is not None:
            if self._tried or began - self._failed_at < _PAUSE:
                raise type(failed)(failed.message, backend=failed.backend, remedy=failed.remedy)
            self._tried = True
        try:
            yield
        except CallerRefused:
            self._failed = None  # it answered, and may well let the next one in
            raise
        except (CatalogUnavailable, ClusterUnavailable, StorageUnavailable) as error:
            now = self._clock()
            if failed is not None or now - began >= _LONG:
                self._failed, self._failed_at = error, now
            raise
        except Exception:
            self._failed = None  # it answered
            raise
        else:
            self._failed = None
        finally:
            if failed is not None:
                self._tried = False
