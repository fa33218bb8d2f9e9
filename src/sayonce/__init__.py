"""Say it once, serve it forever: a gateway and library for speech audio."""
