"""Keys of a job file that the contract knows and this version does not have: refused, never ignored."""

from clipflow.errors import NotYet
from clipflow.source.objects import is_glob
from clipflow.spec import JobSpec


def check_supported(spec: JobSpec) -> None:
    """Raises NotYet, naming the key."""
    source = spec.source
    # Neither a manifest nor a glob says of an image it does not name that the object is gone.
    partial = source.kind == "manifest" or is_glob(source.uri)
    asked = {
        "source.deleted: reject on a manifest or a glob": source.deleted == "reject" and partial,
        "source.allow_private": source.allow_private,
    }
    for key, is_asked in asked.items():
        if is_asked:
            raise NotYet(f"{key} comes with a later version.", "Leave it out.")
