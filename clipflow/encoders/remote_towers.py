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

import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, dynamic_module_utils
from transformers.initialization import no_init_weights
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipflow.encoders.base import Pixels
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.json_file import read_json
from clipflow.encoders.library_pixels import processed
from clipflow.encoders.preprocess import load_preprocess
from clipflow.encoders.remote_code import check_unchanged
from clipflow.encoders.remote_files import clip_processor, find_convention, own_processor
from clipflow.encoders.strict import refuse_further_layers
from clipflow.encoders.tokenizer import Tokenizer, Tokens
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.encoders.weights import weight_files
from clipflow.errors import EncoderError, first_line


class RemoteEncoder(TorchEncoder):
    """A described model with its own code imported and its weights loaded.

    Args:
        info: What `describe` said of it; `info.code` names all code that may run.
        precision: auto, fp32, bf16 or fp16.
        device: auto or a torch device.
        texts: Whether to load the text side, if there is one.

    Raises:
        EncoderError: The code is another one by now, wants code that is not pinned, or does not run; the weights do
            not fit it or are not numbers; the machine lacks the precision; or vectors are not those of the documented
            use (see `clipflow.encoders.self_check`).
    """

    library = "its documented use"

    def __init__(self, info: EncoderInfo, precision: str, device: str, *, texts: bool = True) -> None:
        super().__init__(info, load_preprocess(info), precision, device, texts=texts)
        self._convention = find_convention(read_json(Path(info.folder) / "config.json"), info.model)
        model = _build(info)
        if not self._texts:
            # Its parameters have no values yet, so that it never took any memory.
            for name in self._convention.text_side:
                setattr(model, name, None)
        _fill(model, info)
        self.model = model.eval().to(self.device)
        if self._texts:
            self._tokenizer = Tokenizer(info)
        with _foreign(info):
            self.check_and_settle()

    def images(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `TorchEncoder`."""
        made = getattr(self.model, self._convention.images)(**inputs)
        return made.last_hidden_state[:, 0] if self._convention.class_token else made  # type: ignore[no-any-return]

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """See `TorchEncoder`."""
        given = {key: value.to(self.device) for key, value in tokens.items()}
        return getattr(self.model, str(self._convention.texts))(**given)  # type: ignore[no-any-return]

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """int64 [N, length] per input of the text side."""
        return self._tokenizer(texts)

    def image_side(self) -> list[torch.nn.Module]:
        """See `TorchEncoder`."""
        return [self.model.get_submodule(part) for part in self._convention.image_side]

    def library_pixels(self, rgb: Pixels) -> dict[str, torch.Tensor] | None:
        """See `TorchEncoder`; an image processor that is foreign code needs torchvision, and is not run."""
        written = read_json(Path(self.info.folder) / "preprocessor_config.json")
        if own_processor(written):
            return None
        if written:
            return processed(Path(self.info.folder), rgb)
        height, _ = self._geometry.size or (0, 0)
        processor = CLIPImageProcessorPil(**clip_processor(height))
        return dict(processor(images=Image.fromarray(rgb), return_tensors="pt"))

    def library_tokens(self, text: str) -> Tokens:
        """See `TorchEncoder`."""
        return self._tokenizer.as_documented(text)


def _build(info: EncoderInfo) -> Any:
    """The model as its own constructor makes it, parameters still without values.

    It is not left to `from_pretrained`: that builds without memory, and gives what a constructor computed and no
    checkpoint holds (positions, rotations) back as whatever the memory held, for all code but transformers' own.
    """
    check_unchanged(info)
    with _foreign(info), _only_pinned(info), no_init_weights():
        config = AutoConfig.from_pretrained(info.folder, trust_remote_code=True, local_files_only=True)
        inner = getattr(getattr(config, "text_config", None), "hf_model_name_or_path", None)
        if inner in info.code:
            config.text_config.hf_model_name_or_path = info.code[inner]["folder"]
        return AutoModel.from_config(config, trust_remote_code=True, dtype=torch.float32)


@contextmanager
def _foreign(info: EncoderInfo) -> Iterator[None]:
    """What foreign code raises, which can be anything, as an EncoderError."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"The code of {info.model} does not run here ({type(error).__name__}): {first_line(error)}",
            "It may need a package, or have been written for another version of transformers.",
        ) from error


@contextmanager
def _only_pinned(info: EncoderInfo) -> Iterator[None]:
    """While this lasts, transformers imports foreign code from the folders in `info.code` alone, without a network."""
    known = {key: entry for name, entry in info.code.items() for key in (name, entry["folder"])}
    if info.model in info.code:  # by the folder that it is loaded from, where its weights were converted
        known[info.folder] = info.code[info.model]

    def pinned(repository: str, module_file: str, **_: Any) -> str:
        if str(repository) not in known:
            raise EncoderError(
                f"The code of {info.model} wants code from {repository}, which no commit is named for.",
                "Only what encoder.revision and encoder.code_revision pin is run.",
            )
        return _importable(known[str(repository)], module_file)

    cache = _modules()
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


def _modules() -> Path:
    """Where transformers imports code from hubs from."""
    # The module that others set it in has it from another one, and does not say that it exports it.
    return Path(dynamic_module_utils.HF_MODULES_CACHE)  # type: ignore[attr-defined]


def _importable(entry: dict[str, Any], module_file: str) -> str:
    """Copies a repository's code to where transformers imports from; gives the place of a module in there.

    All of it goes to one package. transformers would make one of each module that it is asked for, and classes of a
    file that two of them import would be two, which a model may refuse as its configuration.
    """
    folder, package = Path(entry["folder"]), Path("transformers_modules") / f"clipflow_{entry['sha256']}"
    dynamic_module_utils.check_imports(folder / module_file)
    dynamic_module_utils.create_dynamic_module(package)
    for file in folder.rglob("*.py"):
        copy = _modules() / package / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)
    importlib.invalidate_caches()
    return str(package / module_file)


def _fill(model: Any, info: EncoderInfo) -> None:
    own = model.state_dict()
    lacking = set(own)
    for path in weight_files(Path(info.folder)):
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            part = {name: file.get_tensor(name) for name in names if name in own}
        refuse_further_layers(info, names, own)
        if wrong := [name for name, value in part.items() if own[name].shape != value.shape]:
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
