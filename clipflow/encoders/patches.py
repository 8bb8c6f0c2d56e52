"""Pictures of different sizes as one batch of patches, as SigLIP 2 NaFlex takes them."""

from collections.abc import Sequence

import torch


def patched(pictures: Sequence[torch.Tensor], side: int) -> dict[str, torch.Tensor]:
    """A batch of patches, padded to the longest.

    Args:
        pictures: float32 [3, height, width] each, in whole patches.
        side: Of a patch, in pixels.

    Returns:
        `pixel_values` float32 [N, patches, side * side * 3], row by row and within a patch channels last;
        `pixel_attention_mask` int64 [N, patches], 0 for padding;
        `spatial_shapes` int64 [N, 2], patches down and across.
    """
    rows = [_rows(one, side) for one in pictures]
    longest = max(len(one) for one in rows)
    values = torch.zeros((len(rows), longest, rows[0].shape[1]), device=rows[0].device)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for at, one in enumerate(rows):
        values[at, : len(one)] = one
        mask[at, : len(one)] = 1
    shapes = torch.tensor([[one.shape[1] // side, one.shape[2] // side] for one in pictures])
    return {"pixel_values": values, "pixel_attention_mask": mask, "spatial_shapes": shapes}


def _rows(picture: torch.Tensor, side: int) -> torch.Tensor:
    channels, height, width = picture.shape
    cut = picture.reshape(channels, height // side, side, width // side, side)
    return cut.permute(1, 3, 2, 4, 0).reshape(-1, side * side * channels)
