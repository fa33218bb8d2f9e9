"""What happened: events, metrics and logs. They hold no spoken text and no secret (law 8)."""
