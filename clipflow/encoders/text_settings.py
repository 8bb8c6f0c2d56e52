"""How texts become tokens, as the files of a checkpoint in Hugging Face's layout say it; needs no transformers."""

from pathlib import Path
from typing import Any

from clipflow.encoders.json_file import read_json

# SigLIP 2 was trained on lower-cased text, and its Gemma tokenizer does not lower-case by itself.
_LOWER_CASED = frozenset({"GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer"})

_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds any file that tells tokens apart; without one some tokenizers give the same for all."""
    return any((folder / name).is_file() for name in _VOCABULARIES)


def text_settings(folder: Path, longest: int, *, padding: str, mask: bool) -> dict[str, Any]:
    """What `clipflow.encoders.info.EncoderInfo.text` holds.

    Args:
        folder: Of the checkpoint.
        longest: Tokens of a text that the model takes; its tokenizer may say less.
        padding: As the model was trained: `longest` or `max_length`.
        mask: Whether the text side is told which tokens are padding.
    """
    tokenizer = read_json(folder / "tokenizer_config.json")
    return {
        "max_length": int(min(longest, tokenizer.get("model_max_length") or longest)),
        "padding": padding,
        "padding_side": "right",
        "attention_mask": mask,
        "lower_case": tokenizer.get("tokenizer_class") in _LOWER_CASED,
    }
