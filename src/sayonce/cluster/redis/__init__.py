"""Where replicas meet: Redis. It may be absent, slow, lost or emptied at any time; nothing rests on it alone."""
