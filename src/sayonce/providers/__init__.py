"""Who speaks: one file a vendor, one contract, the registry."""
