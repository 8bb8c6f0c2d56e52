"""Audit and evaluation: what a policy removes, whom it touches, and how often people say otherwise. Only reads."""
