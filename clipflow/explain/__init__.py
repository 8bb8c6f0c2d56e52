"""One image on one page: its verdict and every number behind it, where it came from, and what became of it."""

from clipflow.explain.image import Explanation, explain

__all__ = ["Explanation", "explain"]
