"""For tests, ours and others': contract suites, and vendors that answer as the real ones do, or misbehave."""
