"""The tokenizer of a checkpoint in Hugging Face's layout, as the loaders transformers and remote use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedConfig

from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.text_settings import has_vocabulary
from clipflow.errors import EncoderError, first_line

Tokens = dict[str, torch.Tensor]


class Tokenizer:
    """Texts to tokens by `info.text`.

    Args:
        info: What `describe` said of the model.

    Raises:
        EncoderError: Its files are damaged, or a library that it needs is not installed.
    """

    def __init__(self, info: EncoderInfo) -> None:
        self._text = info.text
        if not has_vocabulary(Path(info.folder)):
            raise EncoderError(f"{info.folder} holds no tokenizer.", "Download the checkpoint with all its files.")
        # A tokenizer's own files name its class; a configuration of foreign code would ask for that code.
        more = {"config": PreTrainedConfig()} if info.code else {}
        try:
            self._made = AutoTokenizer.from_pretrained(
                info.folder, local_files_only=True, trust_remote_code=False, **more
            )
        except ImportError as error:
            raise EncoderError(
                f"The tokenizer of {info.model} needs a library that is not installed: {first_line(error)}",
                "Install sentencepiece and protobuf, or clipflow[engine], which brings both.",
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise EncoderError(
                f"The tokenizer of {info.model} cannot be loaded: {first_line(error)}", "Check its files."
            ) from error
        self._made.padding_side = info.text["padding_side"]

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """int64 [N, length] per input of the text side."""
        made = self._made(
            [one.lower() for one in texts] if self._text["lower_case"] else list(texts),
            padding=self._text["padding"],
            truncation=True,
            max_length=self._text["max_length"],
            return_attention_mask=self._text["attention_mask"],
            return_tensors="pt",
        )
        return {key: made[key] for key in ("input_ids", "attention_mask") if key in made}

    def as_documented(self, text: str) -> Tokens:
        """One text as transformers' pages tokenise it: with the defaults of the tokenizer's own files."""
        text = text.lower() if self._text["lower_case"] else text
        asked: dict[str, Any] = {"truncation": True, "max_length": self._text["max_length"], "return_tensors": "pt"}
        if self._text["padding"] == "max_length":
            return {"input_ids": self._made([text], padding="max_length", **asked)["input_ids"]}
        made = dict(self._made([text], padding=True, **asked))
        return made if self._text["attention_mask"] else {"input_ids": made["input_ids"]}
