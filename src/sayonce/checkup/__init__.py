"""Is everything there that a gateway of these settings needs? Each part is tried, and what is wrong is said with what
to do about it. Needs no running gateway, and leaves nothing behind."""
