"""Migrations of our own tables; the engine migrates its own."""
