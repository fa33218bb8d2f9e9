"""The heart: what was said is found, what is being said is joined, what is new is said once and kept."""
