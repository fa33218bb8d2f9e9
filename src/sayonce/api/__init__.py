"""The doors: one file a dialect."""
