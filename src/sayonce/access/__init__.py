"""Who may ask, for what, and how much: tenants, keys, limits, budgets, signed URLs."""
