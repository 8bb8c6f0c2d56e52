"""Forgetting: rows removed for good, from every file under the table, and a proof of it."""
