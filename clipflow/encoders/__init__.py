"""The one door to models: describe one from its files, load it, or load its preprocessing alone.

Nothing here imports torch or transformers; the loaders do, when they load.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import cast

from clipflow.encoders.base import Drafting, Encoder, Loader, Preprocess, Vectors, normalised
from clipflow.encoders.info import Decode, EncoderInfo
from clipflow.encoders.loading import loading
from clipflow.encoders.openvino_check import check_backend
from clipflow.encoders.registry import find_loader, loader_name
from clipflow.encoders.remote_code import READERS, code_revision
from clipflow.errors import EncoderError
from clipflow.spec import ComputeSpec, EncoderSpec

__all__ = [
    "Encoder",
    "EncoderInfo",
    "Loader",
    "Preprocess",
    "check_backend",
    "describe",
    "encoder_spec",
    "load_encoder",
    "load_preprocess",
    "normalised",
    "text_encoder",
]


def describe(spec: EncoderSpec | str, decode: Decode = "exact") -> EncoderInfo:
    """Find the files of a model and fingerprint them, without loading it.

    Args:
        spec: What a job file says under `encoder`, or the model alone: a hub id, a local folder, `demo`.
        decode: What a job file says under `decode`.

    Raises:
        EncoderError: There is no such model, or it cannot be loaded as it stands, or its preprocessing knows no drafts.
    """
    spec = _checked(spec)
    info = find_loader(loader_name(spec)).describe(spec)
    if decode == "exact":
        return info
    if not isinstance(load_preprocess(info), Drafting):
        raise EncoderError(
            f"The loader {info.loader!r} does not say what size it needs, so no picture can be decoded smaller.",
            "Set decode: exact.",
        )
    return info.drafting()


@loading()
def load_encoder(
    spec: EncoderSpec | str,
    *,
    precision: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    texts: bool = True,
    decode: Decode = "exact",
    compute: ComputeSpec | None = None,
    lanes: int = 1,
) -> Encoder:
    """Load a model.

    Args:
        spec: As for `describe`.
        precision: auto, fp32, bf16 or fp16 for the image side; auto falls back on what `spec` says.
        device: auto, or a torch device such as `cpu` or `cuda:0`.
        trust_remote_code: Whether code that comes with the model may run; so it does if `spec` says so.
        texts: Whether texts will be encoded; without, an encoder may take less memory.
        decode: As for `describe`; only the identity follows from it.
        compute: What a job file says under `compute`: how to compute what is the same in the end.
        lanes: How many threads will encode pictures at the same time, where the backend must know.

    Raises:
        MissingEngine: The library of the backend is not installed.
        EncoderError: As for `describe`; or the machine cannot compute in this precision; or the encoder does not
            give the vectors that the model's own library gives.
    """
    spec = _checked(spec)
    if trust_remote_code:
        spec = spec.model_copy(update={"trust_remote_code": True})
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise EncoderError(f"There is no precision {precision!r}.", "Choose auto, fp32, bf16 or fp16.")
    info = describe(spec, decode)
    # Not always the loader that was asked: one hands over to another.
    loader = find_loader(info.loader)
    precision = spec.precision if precision == "auto" else precision

    def load(texts: bool, precision: str, device: str) -> Encoder:
        chosen = loader.load if texts else getattr(loader, "load_image_side", loader.load)
        return cast(Encoder, chosen(info, precision, device))

    if compute is not None:
        check_backend(compute, info)
    if compute is not None and compute.backend == "openvino":
        from clipflow.encoders.openvino_encoder import OpenVINOEncoder

        return OpenVINOEncoder(
            info, load_preprocess(info), lambda both: load(both, "fp32", "cpu"), precision, texts=texts, lanes=lanes
        )
    encoder = load(texts, precision, device)
    if compute is not None:
        encoder.tune(compute)
    return encoder


def encoder_spec(info: EncoderInfo) -> EncoderSpec:
    """What to ask for to get the model of a table's card again.

    A card by itself allows no code to run, whoever wrote it: where the model brings its own, whoever reads the table
    must allow it by the environment variable `CLIPFLOW_TRUST_REMOTE_CODE=1`. It then runs at the card's commits.
    """
    return EncoderSpec(
        model=info.model,
        revision=info.commit or info.revision,
        loader=info.loader,
        trust_remote_code=bool(info.code) and os.environ.get(READERS) == "1",
        code_revision=code_revision(info),
        truncate_dim=info.truncate_dim,
        allow_pickle=info.allow_pickle,
    )


def text_encoder(spec: EncoderSpec, info: EncoderInfo) -> Callable[[list[str]], Vectors]:
    """Encodes texts by a described model, in fp32; the model is loaded when it is first asked.

    Raises:
        EncoderError: When asked: the model cannot be loaded, or is another one by now.
    """

    @cache
    def loaded() -> Encoder:
        pinned = spec.model_copy(update={"revision": info.commit or spec.revision})
        encoder = load_encoder(pinned, precision="fp32", decode=info.decode)
        if encoder.info.encoder_id != info.encoder_id:
            raise EncoderError(
                f"{info.model} is no longer the encoder that was described "
                f"({encoder.info.encoder_id[:12]} instead of {info.encoder_id[:12]}).",
                "Restore the checkpoint, or run the job again.",
            )
        return encoder

    return lambda texts: loaded().encode_texts(texts)


def load_preprocess(info: EncoderInfo) -> Preprocess:
    """The preprocessing of a described model; needs no weights."""
    return find_loader(info.loader).load_preprocess(info)


def _checked(spec: EncoderSpec | str) -> EncoderSpec:
    if isinstance(spec, str):
        if not spec:
            raise EncoderError("The model has no name.", "Give a hub id, a local folder, or demo.")
        spec = EncoderSpec(model=spec)
    return spec
