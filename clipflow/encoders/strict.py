"""Weights that a model has no place for: some are harmless, layers that its configuration leaves out are not."""

from collections.abc import Collection, Iterable

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import EncoderError


def refuse_further_layers(info: EncoderInfo, stored: Iterable[str], own: Collection[str]) -> None:
    """A model built shallower than its weights would load without a word, and give vectors of no checkpoint.

    Args:
        info: What `describe` said of the model.
        stored: Names of tensors in the checkpoint.
        own: Names of the tensors that the model has.

    Raises:
        EncoderError: A stored tensor is one of the model's but for the number of its layer.
    """
    beyond = [name for name in stored if name not in own and any(first in own for first in _in_first_layers(name))]
    if beyond:
        raise EncoderError(
            f"The weights of {info.model} hold {min(beyond)} ({len(beyond)} in all), and its configuration says that "
            "there is no such layer.",
            "Its files are of two models: download the checkpoint again.",
        )


def _in_first_layers(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join([*parts[:at], "0", *parts[at + 1 :]]) for at, part in enumerate(parts) if part.isdigit()]
