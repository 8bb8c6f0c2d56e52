"""How fast it is, beside what a user would write by hand. `docs/speed.md` holds the last figures."""
