"""Models of foreign code, built by the pinned files alone and loaded strictly."""

import fcntl
import importlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, dynamic_module_utils
from transformers.initialization import no_init_weights

from clipflow.encoders.base import Encoder, Pixels, Vectors, normalised
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.json_file import read_json
from clipflow.encoders.precision import DTYPES, choose_device, choose_precision
from clipflow.encoders.remote_code import check_unchanged
from clipflow.encoders.remote_files import find_convention, load_preprocess
from clipflow.encoders.weights import weight_files
from clipflow.errors import EncoderError, first_line

_TEXTS_AT_ONCE = 64


class RemoteEncoder(Encoder):
    """A described model with its own code imported and its weights loaded.

    Args:
        info: What `describe` said of it; `info.code` names all code that may run.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.
        texts: Whether texts will be encoded.

    Raises:
        EncoderError: The code is another one by now, wants code that is not pinned, or does not run; the weights do
            not fit it or are not numbers; the machine lacks the precision.
    """

    def __init__(self, info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> None:
        self.info = info
        self._convention = find_convention(read_json(Path(info.folder) / "config.json"), info.model)
        self._device = choose_device(device)
        self.precision = choose_precision(precision, self._device)
        self._dtype = DTYPES[self.precision]
        self.preprocess = load_preprocess(info)
        geometry = Geometry.from_body(info.preprocess)
        std = torch.tensor(geometry.std, dtype=torch.float64)
        self._factor = self._per_channel(geometry.scale / std)
        self._shift = self._per_channel(torch.tensor(geometry.mean, dtype=torch.float64) / std)
        model = _build(info)
        _fill(model, info)
        self._model = model.eval().to(self._device)
        # Only the image side: labels and captions are few, and keep fp32 everywhere.
        for part in self._convention.image_side:
            self._model.get_submodule(part).to(self._dtype)
        self._tokenizer = _load_tokenizer(info) if texts and info.has_text else None

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, torch.float32).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[Pixels] | Pixels) -> Vectors:
        """N pictures uint8 [height, width, 3] to float32 [N, dim]."""
        if len(pixels) == 0:
            return np.empty((0, self.info.dim), np.float32)
        batch = pixels if isinstance(pixels, np.ndarray) else np.stack(pixels)
        raw = torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(self._device)
        values = raw.permute(0, 3, 1, 2).float().mul_(self._factor).sub_(self._shift).contiguous()
        made = getattr(self._model, self._convention.images)(pixel_values=values.to(self._dtype))
        return self._finished(made.last_hidden_state[:, 0] if self._convention.class_token else made)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to float32 [N, dim], in fp32 whatever `precision` says."""
        if self._tokenizer is None:
            raise EncoderError(
                f"{self.info.model} has no text side.", "Use rules that need no texts, or choose another model."
            )
        parts = [np.empty((0, self.info.dim), np.float32)]
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self._tokenizer(
                list(texts[first : first + _TEXTS_AT_ONCE]),
                padding=self.info.text["padding"],
                truncation=True,
                max_length=self.info.text["max_length"],
                return_attention_mask=self.info.text["attention_mask"],
                return_tensors="pt",
            )
            given = {key: tokens[key].to(self._device) for key in ("input_ids", "attention_mask") if key in tokens}
            parts.append(self._finished(getattr(self._model, str(self._convention.texts))(**given)))
        return np.concatenate(parts)

    def _finished(self, made: torch.Tensor) -> Vectors:
        most = None if self.info.truncate_dim else self.info.dim
        if made.ndim != 2 or not self.info.dim <= made.shape[1] <= (most or made.shape[1]):
            raise EncoderError(
                f"The code of {self.info.model} gives {list(made.shape)} and not vectors of {self.info.dim}.",
                "Its config.json and its code do not fit together.",
            )
        return normalised(made[:, : self.info.dim].float().cpu().numpy())


def _build(info: EncoderInfo) -> Any:
    """The model as its own constructor makes it, parameters still without values.

    It is not left to `from_pretrained`: that builds without memory, and gives what a constructor computed and no
    checkpoint holds (positions, rotations) back as whatever the memory held, for all code but transformers' own.
    """
    check_unchanged(info)
    try:
        with _only_pinned(info), no_init_weights():
            config = AutoConfig.from_pretrained(info.folder, trust_remote_code=True, local_files_only=True)
            inner = getattr(getattr(config, "text_config", None), "hf_model_name_or_path", None)
            if inner in info.code:
                config.text_config.hf_model_name_or_path = info.code[inner]["folder"]
            return AutoModel.from_config(config, trust_remote_code=True, dtype=torch.float32)
    except EncoderError:
        raise
    except Exception as error:  # foreign code can raise anything
        raise EncoderError(
            f"The code of {info.model} does not run here ({type(error).__name__}): {first_line(error)}",
            "It may need a package, or have been written for another version of transformers.",
        ) from error


@contextmanager
def _only_pinned(info: EncoderInfo) -> Iterator[None]:
    """While this lasts, transformers imports foreign code from the folders in `info.code` alone, without a network."""
    known = {key: entry for name, entry in info.code.items() for key in (name, entry["folder"])}

    def pinned(repository: str, module_file: str, **_: Any) -> str:
        if str(repository) not in known:
            raise EncoderError(
                f"The code of {info.model} wants code from {repository}, which no commit is named for.",
                "Only what encoder.revision and encoder.code_revision pin is run.",
            )
        return _importable(known[str(repository)], module_file)

    cache = Path(dynamic_module_utils.HF_MODULES_CACHE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        held = (cache / ".clipflow.lock").open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError as error:
        raise EncoderError(f"{cache} cannot be written.", "Set HF_MODULES_CACHE to a folder that can be.") from error
    # Else two workers, or two threads, would import each other's half copies.
    with (
        held,
        patch.object(dynamic_module_utils, "get_cached_module_file", pinned),
        # It would prefer a class once registered for a configuration to the one that is pinned now.
        patch.object(AutoModel, "register", lambda *_, **__: None),
        patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),
    ):
        yield


def _importable(entry: dict[str, Any], module_file: str) -> str:
    """Copies a repository's code to where transformers imports from; gives the place of a module in there.

    All of it goes to one package. transformers would make one of each module that it is asked for, and classes of a
    file that two of them import would be two, which a model may refuse as its configuration.
    """
    folder, package = Path(entry["folder"]), Path("transformers_modules") / f"clipflow_{entry['sha256']}"
    dynamic_module_utils.check_imports(folder / module_file)
    dynamic_module_utils.create_dynamic_module(package)
    for file in folder.rglob("*.py"):
        copy = Path(dynamic_module_utils.HF_MODULES_CACHE) / package / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)
    importlib.invalidate_caches()
    return str(package / module_file)


def _fill(model: Any, info: EncoderInfo) -> None:
    own = model.state_dict()
    lacking = set(own)
    for path in weight_files(Path(info.folder)):
        part = load_file(path)
        if wrong := [name for name, value in part.items() if name in own and own[name].shape != value.shape]:
            raise _unfit(info, "do not fit", wrong)
        model.load_state_dict(part, strict=False)
        lacking -= part.keys()
    # What the constructor computed may be missing if the code says so; a parameter may not.
    parameters = {name for name, _ in model.named_parameters()}
    spared = [re.compile(one) for one in model._keys_to_ignore_on_load_missing or ()]
    if wrong := [name for name in lacking if name in parameters or not any(one.search(name) for one in spared)]:
        raise _unfit(info, "lack", wrong)
    if wrong := [name for name, value in own.items() if value.is_floating_point() and value.isnan().any()]:
        raise _unfit(info, "are not numbers in", wrong)


def _unfit(info: EncoderInfo, what: str, names: list[str]) -> EncoderError:
    return EncoderError(
        f"The weights of {info.model} {what} {min(names)} ({len(names)} in all).",
        "They are not those of its code, or its files are damaged.",
    )


def _load_tokenizer(info: EncoderInfo) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            info.folder,
            # The tokenizer's own files name its class; the model's configuration is one of foreign code.
            config=PreTrainedConfig(),
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, ImportError, TypeError, KeyError, AttributeError) as error:
        raise EncoderError(
            f"The tokenizer of {info.model} cannot be loaded: {first_line(error)}", "Check its files."
        ) from error
    tokenizer.padding_side = info.text["padding_side"]
    return tokenizer
