"""The image side of a model alone: what only texts pass is taken out before weights are read, so theirs never are."""

from typing import Any

TEXT_PARTS = ("text_model", "text_projection")
"""What belongs to texts in a model of both sides."""
# A single number that stays as it was read would keep the whole file mapped.
_UNUSED = (*TEXT_PARTS, "logit_scale", "logit_bias")


def image_side(whole: Any) -> Any:
    """A class of transformers without its text parts; of a checkpoint it reads no other tensors than it has.

    `from_pretrained` builds a model before it gives it memory, so that the parts cost none before they go.
    """

    def build(self: Any, config: Any) -> None:
        whole.__init__(self, config)
        for part in _UNUSED:
            if hasattr(self, part):
                delattr(self, part)

    def initialise(self: Any, module: Any) -> None:
        # Of the model itself it would fill what is gone, and the projection that the checkpoint holds.
        if module is not self:
            whole._init_weights(self, module)

    body = {
        "__init__": build,
        "_init_weights": initialise,
        # By name and module transformers knows how older checkpoints spell their tensors.
        "__module__": whole.__module__,
        # What is left out on purpose needs no warning.
        "_keys_to_ignore_on_load_unexpected": [
            *(whole._keys_to_ignore_on_load_unexpected or []),
            *(rf"(^|\.){part}(\.|$)" for part in _UNUSED),
        ],
    }
    return type(whole.__name__, (whole,), body)
