"""A CLIP ViT-B/32 with random weights: as large and as slow as the real one, and no download.

python -m benchmarks.checkpoint FOLDER
"""

import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


def build(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint, 605 MB in fp32."""
    torch.manual_seed(seed)
    # The configuration's defaults are ViT-B/32.
    model = CLIPModel(CLIPConfig())
    with torch.no_grad():
        for parameter in model.parameters():
            # At the default scale random weights see all pictures alike, and no error would show.
            if parameter.ndim > 1:
                parameter.mul_(2)
    model.eval().save_pretrained(folder)
    # No text is encoded; both sides load a tokenizer all the same.
    CLIPTokenizer().save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
