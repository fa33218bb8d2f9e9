"""What comes back: formats, and audio that is probed, encoded, transcoded and checked.

Bytes in, bytes out. It takes its time, so callers run it off the event loop."""
