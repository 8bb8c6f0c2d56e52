"""Tiny checkpoints with random weights, built offline: small enough for a test, laid out as the real ones are."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

CAPTIONS = [
    "a photo of a red square",
    "two blue circles on a white ground",
    "a temple in china under a cloudy sky",
    "a close picture of a flower with dark petals",
    "an astronaut in an orange suit smiling at the camera",
    "a cup of coffee on a wooden table beside a spoon",
    "screenshot of text, letters and numbers 0123456789",
]
_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIDE = 32
CLIP_LENGTH = 24
SIGLIP_LENGTH = 16


def tiny_clip(folder: Path, *, dim: int = 24, seed: int = 0, **processor: Any) -> Path:
    """A CLIP checkpoint of `dim` dimensions that takes 32 x 32 pixels; `processor` goes to its image processor."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**_SIZES, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": CLIP_LENGTH}
    text["pad_token_id"] = tokenizer.pad_token_id
    config = CLIPConfig(
        projection_dim=dim,
        text_config={**text, "projection_dim": dim},
        vision_config={**_SIZES, "image_size": SIDE, "patch_size": 8, "projection_dim": dim},
    )
    model = spread(CLIPModel(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}, **processor}
    CLIPImageProcessorPil(**settings).save_pretrained(folder)
    return folder


def tiny_siglip(folder: Path, *, seed: int = 0, **processor: Any) -> Path:
    """A SigLIP checkpoint of 32 dimensions that takes 32 x 32 pixels; `processor` goes to its image processor."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _siglip_tokenizer(folder)
    config = SiglipConfig(
        text_config={
            **_SIZES,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": SIGLIP_LENGTH,
            "projection_size": 32,
        },
        vision_config={**_SIZES, "image_size": SIDE, "patch_size": 8},
    )
    model = spread(SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(**{"size": {"height": SIDE, "width": SIDE}, **processor}).save_pretrained(folder)
    return folder


def hub_layout(home: Path, model: str, checkpoint: Path, commit: str = "0123456789abcdef" * 2 + "01234567") -> str:
    """Lay a checkpoint out as the hub's cache under `home` would hold it; returns the commit."""
    root = home / "hub" / f"models--{model.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    return commit


def edit_config(folder: Path, name: str = "config.json", **changes: Any) -> None:
    """Overwrite keys of a JSON file of a checkpoint."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spread(model: Any) -> Any:
    """Double all matrices: at the default scale all pictures look alike to random weights, which hides errors."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model.eval()


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own, with merges learned from `CAPTIONS`.

    By hand: the library's trainer breaks ties by chance, and every run would have another model.
    """
    words = [[*word[:-1], f"{word[-1]}</w>"] for word in " ".join(CAPTIONS).replace(",", "").split()]
    merges = []
    while pairs := Counter(pair for word in words for pair in pairwise(word)):
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        words = [_merged(word, merges[-1]) for word in words]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [*alphabet, *(f"{sign}</w>" for sign in alphabet), *dict.fromkeys("".join(pair) for pair in merges)]
    # The text side finds the end of a text as its highest id.
    vocab = {word: i for i, word in enumerate([*known, "<|startoftext|>", "<|endoftext|>"])}
    # Its types know merges as strings only; pairs are what `tokenizers` makes of them.
    in_order: Any = merges
    return CLIPTokenizer(vocab=vocab, merges=in_order, model_max_length=CLIP_LENGTH)


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    made: list[str] = []
    for sign in word:
        if made and (made[-1], sign) == pair:
            made[-1] += sign
        else:
            made.append(sign)
    return made


def _siglip_tokenizer(folder: Path) -> SiglipTokenizer:
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(CAPTIONS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "spiece"),
        vocab_size=80,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    corpus.unlink()
    (folder / "spiece.vocab").unlink()
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"), model_max_length=SIGLIP_LENGTH)
