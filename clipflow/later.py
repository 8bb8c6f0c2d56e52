"""Keys of a job file that the contract knows and this version does not have: refused, never ignored."""

from clipflow.errors import NotYet
from clipflow.spec import JobSpec


def check_supported(spec: JobSpec) -> None:
    """Raises NotYet, naming the key."""
    asked = {"source.allow_private": spec.source.allow_private}
    for key, is_asked in asked.items():
        if is_asked:
            raise NotYet(f"{key} comes with a later version.", "Leave it out.")
