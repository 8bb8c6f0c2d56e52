"""Fingerprints of a checkpoint and of its preprocessing: equal when equal vectors come out, whatever the names."""

import hashlib
from pathlib import Path
from typing import Any

from clipflow.decode import DECODE_POLICY
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.json_file import read_json
from clipflow.encoders.weights import Tensor, weights_digest
from clipflow.spec import digest

# Who wrote the file, and how to compute; not what. The type of stored weights is in their digest, the type
# they are computed in is the run's own choice, so neither spelling of it belongs here.
_VOLATILE = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_commit_hash",
        "_name_or_path",
        "attn_implementation",
        "dtype",
        "name_or_path",
        "processor_class",
        "torch_dtype",
        "transformers_version",
    }
)
_TOKENIZER_JSON = ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
_TOKENIZER_FILES = ("merges.txt", "spiece.model", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_ALONE = "sentencepiece.bpe.model"
"""Where it lies beside another file of these, that one is read."""


def checkpoint_fp(
    folder: Path,
    found: dict[str, Tensor],
    config: dict[str, Any],
    loader: str,
    text: dict[str, Any],
    truncate_dim: int | None = None,
    *,
    code: dict[str, str] | None = None,
) -> str:
    """sha256 over weights, configuration (activation and pooling stand in it), tokenizer, text settings and loader.

    Args:
        folder: Of the checkpoint.
        found: Its tensors.
        config: Its config.json.
        loader: The way of loading; the same files through another loader are another encoder.
        text: How texts become tokens.
        truncate_dim: How many leading dimensions are kept; the whole vector is another encoder.
        code: By repository, the sha256 of the code that comes with the model.
    """
    return digest(
        {
            "weights": weights_digest(found),
            "config": settled(config),
            "tokenizer": tokenizer_state(folder),
            "text": text,
            "loader": loader,
            **({} if truncate_dim is None else {"truncate_dim": truncate_dim}),
            **({} if code is None else {"code": code}),
        }
    )


def tokenizer_state(folder: Path) -> dict[str, Any]:
    """What of a folder decides how texts become tokens: digests of vocabularies, content of settings."""
    tokenizer: dict[str, Any] = {}
    found = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    for name in found or [name for name in (_ALONE,) if (folder / name).is_file()]:
        tokenizer[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for name in _TOKENIZER_JSON:
        if (path := folder / name).is_file():
            tokenizer[name] = settled(read_json(path))
    return tokenizer


def preprocess_fp(geometry: Geometry) -> str:
    """sha256 over what is computed from a file's bytes to the model's input."""
    return digest({"geometry": geometry.body(), "decode": DECODE_POLICY})


def settled(value: Any) -> Any:
    """JSON data without the keys that change while what is computed does not."""
    if isinstance(value, dict):
        return {key: settled(inner) for key, inner in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [settled(inner) for inner in value]
    return value
