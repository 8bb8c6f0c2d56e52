"""Refusals: what reaches the end of a call in a foreign library's words and is no defect of ours.

Whoever knows what was being done maps such an error where it arises, see `clipflow.faults`. This is the net below:
a full disk, a limit or a lost connection may show up in any line, and none of them is to be reported as a defect.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from clipflow.error_number import causes
from clipflow.errors import ClipflowError, SourceError, StorageUnavailable, TableError
from clipflow.faults import DAMAGED, RESTORE, connection_kind, is_of_lance
from clipflow.machine import machine_error

_LOST = re.compile(r"Not found: (\S+\.lance/\S+?),? ")
# What Lance says of files, and not of a schema or a call, which are ours.
_DAMAGE = re.compile(r"LanceError\(IO\)|Not found: |[Cc]orrupt|whole buffer|unexpected EOF|magic|too small")


def in_our_words(error: BaseException) -> ClipflowError | None:
    """An error of ours for a foreign one; None for what only a defect explains."""
    if isinstance(error, ClipflowError):
        return error
    if (ours := machine_error(error)) is not None:
        return ours
    kind = connection_kind(error)
    if kind in ("timeout", "network"):
        return StorageUnavailable("Storage did not answer.", "Check the network and the store, then try again.")
    if kind == "forbidden":
        return SourceError("Storage refused access.", "Check the credentials and the rights of that identity.")
    texts = [str(one) for one in causes(error)]
    if not is_of_lance(error) or not any(_DAMAGE.search(text) for text in texts):
        return None
    if lost := next((found for text in texts if (found := _LOST.search(text))), None):
        return StorageUnavailable(
            f"A file of the table is not there any more: {lost[1]}.",
            "Try again, as a deletion may just have removed it; if it stays away, restore it from a copy.",
        )
    return TableError(f"The table cannot be read: {DAMAGED}.", RESTORE)


@contextmanager
def refusals() -> Iterator[None]:
    """Run a block; what only a defect explains goes on as it is."""
    try:
        yield
    except Exception as error:
        ours = in_our_words(error)
        if ours is None or ours is error:
            raise
        raise ours from error
