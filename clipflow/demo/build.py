"""The demo encoder before it has learned anything: words, image preparation and an untrained CLIPModel.

The sizes are chosen for a laptop's patience: 64 pixels, patches of 8 and 1.3 million parameters, in Hugging Face's
own layout, so that nothing in clipflow treats this checkpoint differently from a real one.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

import torch
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIDE: Final = 64
_PATCH: Final = 8
_WIDTH: Final = 128
_MAX_TOKENS: Final = 32
_MERGED_WORDS: Final = 450


def build_tokenizer(captions: Iterable[str]) -> Any:
    """CLIP's byte-level BPE, its merges learned from `captions`."""
    learner = CLIPTokenizer().backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_MERGED_WORDS, end_of_word_suffix="</w>", show_progress=False, initial_alphabet=alphabet
    )
    learner.train_from_iterator(captions, trainer)
    learned = json.loads(learner.to_str())["model"]
    # The trainer knows only the last letters it has seen. Any other would become the unknown token, which in CLIP is
    # the end-of-text token, and the model would stop reading there: so every byte gets its word-final form.
    words = dict.fromkeys([*sorted(alphabet), *(letter + "</w>" for letter in sorted(alphabet)), *learned["vocab"]])
    vocab = {word: index for index, word in enumerate(word for word in words if not word.startswith("<|"))}
    # CLIP finds the place to pool by the end-of-text id, in some versions by looking for the highest id of all.
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    merges: Any = [tuple(merge) for merge in learned["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=_MAX_TOKENS)


def build_image_processor() -> Any:
    """Shortest edge to 64 pixels, the central square of that, CLIP's own mean and deviation."""
    return CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def build_model(tokenizer: Any) -> Any:
    """An untrained model whose text side fits `tokenizer`."""
    tower = {
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "num_attention_heads": 4,
        "projection_dim": _WIDTH,
        "hidden_act": "gelu",
    }
    text = {
        **tower,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": _MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**tower, "num_hidden_layers": 4, "image_size": SIDE, "patch_size": _PATCH}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=_WIDTH)
    # The fused attention's backward pass is half as fast as the plain one on a CPU; nothing of this choice is saved.
    config._attn_implementation = "eager"
    model: Any = CLIPModel(config)
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.weight[1:] = _grid_positions()
    return model


def _grid_positions() -> torch.Tensor:
    """Sines and cosines of row and column: shape is where patches lie, and this need not be found out first."""
    places = torch.arange(SIDE // _PATCH, dtype=torch.float32)
    waves = torch.logspace(0, -2, _WIDTH // 4)
    angles = places[:, None] * waves
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(-1, len(places), -1)
    return 0.2 * torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)
