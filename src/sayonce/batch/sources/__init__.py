"""Where audio is brought along from."""
