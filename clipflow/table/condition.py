"""A user's SQL condition on the columns of a table."""

import re

import lance

from clipflow.errors import QueryError
from clipflow.refusals import in_our_words


def check_condition(dataset: lance.LanceDataset, where: str) -> None:
    """Try it alone, before anything costs: joined with ours, a half condition could become a whole one.

    Raises:
        QueryError: Lance cannot read it, or it names columns that are not there.
    """
    try:
        dataset.scanner(filter=where, columns=["image_id"]).explain_plan()
    except (ValueError, OSError) as error:
        raise refused(dataset, where, error) from error


def refused(dataset: lance.LanceDataset, where: str | None, error: Exception) -> Exception:
    """What Lance said about a condition, as our error; without a condition it was about the table's files."""
    if where is None:
        return in_our_words(error) or error
    # Lance goes on with its source file, and with columns that are not the table's.
    said = re.split(r", /|\. Valid fields", str(error))[0]
    return QueryError(
        f"The condition {where!r} cannot be used: {said}.", f"Columns are {', '.join(dataset.schema.names)}."
    )
