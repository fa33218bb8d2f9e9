"""A Supabase project's Storage, as its REST API is spoken to by storage3 2.34 (2026-11).

Observed on the real server: errors are HTTP 400 with the true status inside, HEAD of a missing object is a bare 400,
signed URLs come back relative and a tampered or expired one is 400 InvalidJWT, which characters a key may have, that
one of 1,100 characters is a 500, and that nothing said of caching becomes `no-cache`. Known from its published source
alone: both listings, `max-age=` before whatever the form's `cacheControl` says, what a missing bucket or a key of
another role answers, and a signed answer's headers (some versions send no Cache-Control beside Expires). Not here:
images, resumable uploads, URLs to upload to, ranges, and `with_delimiter`.
"""

from sayonce.testing.supabase.server import ANON, SERVICE, FakeSupabase
from sayonce.testing.supabase.troubles import Refusal, Trouble

__all__ = ["ANON", "SERVICE", "FakeSupabase", "Refusal", "Trouble"]
