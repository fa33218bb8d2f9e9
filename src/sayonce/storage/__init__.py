"""Where bytes rest: one file a backend, one contract."""
