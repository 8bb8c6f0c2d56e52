"""Migration: a new table with another encoder, filled from the sources of the old one's rows."""
