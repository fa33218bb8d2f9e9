"""Storages over obstore, before servers that run here."""
