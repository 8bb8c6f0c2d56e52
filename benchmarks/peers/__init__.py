"""What users have instead: each module a program that embeds a list of photographs into a Lance table.

    python -m benchmarks.peers.NAME LIST CHECKPOINT TABLE [...]

LIST is a text file with a path or an http URL a line. A peer does no more than it must: no failures, no hashes,
no provenance, no second run.
"""
