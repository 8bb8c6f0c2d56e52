"""The one door to models: describe one from its files, load it, or load its preprocessing alone.

Nothing here imports torch or transformers; the loaders do, when they load.
"""

from collections.abc import Callable
from functools import cache

from clipflow.encoders.base import Encoder, Loader, Preprocess, Vectors, normalised
from clipflow.encoders.info import EncoderInfo
from clipflow.encoders.registry import find_loader, loader_name
from clipflow.errors import EncoderError, NotYet
from clipflow.spec import EncoderSpec

__all__ = [
    "Encoder",
    "EncoderInfo",
    "Loader",
    "Preprocess",
    "describe",
    "encoder_spec",
    "load_encoder",
    "load_preprocess",
    "normalised",
    "text_encoder",
]


def describe(spec: EncoderSpec | str) -> EncoderInfo:
    """Find the files of a model and fingerprint them, without loading it.

    Args:
        spec: What a job file says under `encoder`, or the model alone: a hub id, a local folder, `demo`.

    Raises:
        EncoderError: There is no such model, or it cannot be loaded as it stands.
        NotYet: `spec` asks for something this version does not have.
    """
    spec = _checked(spec)
    return find_loader(loader_name(spec)).describe(spec)


def load_encoder(
    spec: EncoderSpec | str,
    *,
    precision: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    texts: bool = True,
) -> Encoder:
    """Load a model.

    Args:
        spec: As for `describe`.
        precision: auto, fp32, bf16 or fp16 for the image side; auto falls back on what `spec` says.
        device: auto, or a torch device such as `cpu` or `cuda:0`.
        trust_remote_code: Whether code that comes with the model may run; not in this version.
        texts: Whether texts will be encoded; without, an encoder may take less memory.

    Raises:
        EncoderError: As for `describe`; or the machine cannot compute in this precision; or the encoder does not
            give the vectors that the model's own library gives.
    """
    spec = _checked(spec, trust_remote_code)
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise EncoderError(f"There is no precision {precision!r}.", "Choose auto, fp32, bf16 or fp16.")
    loader = find_loader(loader_name(spec))
    load = loader.load if texts else getattr(loader, "load_image_side", loader.load)
    return load(loader.describe(spec), spec.precision if precision == "auto" else precision, device)


def encoder_spec(info: EncoderInfo) -> EncoderSpec:
    """What to ask for to get a described model again."""
    return EncoderSpec(
        model=info.model,
        revision=info.commit or info.revision,
        loader=info.loader,
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
        encoder = load_encoder(spec.model_copy(update={"revision": info.commit or spec.revision}), precision="fp32")
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


def _checked(spec: EncoderSpec | str, trust_remote_code: bool = False) -> EncoderSpec:
    if isinstance(spec, str):
        if not spec:
            raise EncoderError("The model has no name.", "Give a hub id, a local folder, or demo.")
        spec = EncoderSpec(model=spec)
    if trust_remote_code or spec.trust_remote_code or spec.code_revision:
        raise NotYet(
            "Models that bring their own code cannot be loaded yet.",
            "Leave out trust_remote_code and code_revision, or choose a model that transformers or open_clip serves.",
        )
    return spec
