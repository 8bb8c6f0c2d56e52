"""What is known of an encoder before a weight is loaded; a job hands it from the driver to its workers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self

from clipflow.decode.draft import DRAFT_POLICY
from clipflow.encoders.fingerprint import preprocess_fp
from clipflow.encoders.geometry import Geometry
from clipflow.encoders.weights import Tensor
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec, digest

Score = Literal["softmax", "sigmoid", "cosine"]
Decode = Literal["exact", "draft"]


@dataclass(frozen=True)
class EncoderInfo:
    """The identity and the settings of one encoder. Plain data: pickles, and turns into JSON by `card()`.

    Attributes:
        model: As the job names it.
        revision: As the job names it, None when it names none.
        commit: 40 hex digits of the hub's commit, None for folders.
        folder: Where the files lie on this machine, a resolved path.
        loader: Name of the loader that made this, and that loads it.
        family: `model_type` of the checkpoint's configuration.
        dim: Length of a vector.
        has_text: Whether texts can be encoded into the same space.
        score: How a cosine becomes a probability: softmax over labels, a sigmoid per label, or not at all.
        logit_scale: The parameter as stored, so the factor of a cosine is its exponential.
        logit_bias: Added after scaling; None where the family has none.
        checkpoint_fp: sha256 over weights, configuration and tokenizer, 64 hex digits.
        preprocess_fp: sha256 over what is computed from file to pixels, 64 hex digits.
        text: How texts become tokens: max_length, padding, lower_case and the like.
        preprocess: How pixels are resized, cropped and normalised; see `clipflow.encoders.geometry.Geometry`.
        truncate_dim: How many leading dimensions are kept, before normalising; None keeps all.
        code: Of models that bring their own code, by repository: the commit and the folder that it is loaded from.
        allow_pickle: Whether the job allows weights that are stored as pickle.
        decode: exact, or draft for pictures that may be decoded smaller than they are.
    """

    model: str
    revision: str | None
    commit: str | None
    folder: str
    loader: str
    family: str
    dim: int
    has_text: bool
    score: Score
    logit_scale: float | None
    logit_bias: float | None
    checkpoint_fp: str
    preprocess_fp: str
    text: dict[str, Any] = field(default_factory=dict)
    preprocess: dict[str, Any] = field(default_factory=dict)
    truncate_dim: int | None = None
    code: dict[str, Any] = field(default_factory=dict)
    allow_pickle: bool = False
    decode: Decode = "exact"

    @property
    def encoder_id(self) -> str:
        """64 hex digits; rows of equal ids can be compared, rows of different ids cannot (law 5)."""
        return digest([self.checkpoint_fp, self.preprocess_fp, self.dim])

    def drafting(self) -> Self:
        """The same over drafts of pictures, which is another encoder: its vectors differ a little."""
        return replace(self, decode="draft", preprocess_fp=digest([self.preprocess_fp, DRAFT_POLICY]))

    @classmethod
    def described(
        cls, spec: EncoderSpec, full: int, geometry: Geometry, weights: Mapping[str, Tensor], **more: Any
    ) -> Self:
        """What a job asks for and what the files of the checkpoint say, together.

        Args:
            spec: What the job asks for.
            full: Length of a whole vector of the model.
            geometry: Of its preprocessing.
            weights: Its tensors, among them the scale and the bias of its scores if it has any.
            more: The other fields.

        Raises:
            EncoderError: The job asks for more dimensions than there are.
        """
        if (spec.truncate_dim or full) > full:
            raise EncoderError(
                f"encoder.truncate_dim is {spec.truncate_dim}, and {spec.model} has {full} dimensions.",
                f"Choose at most {full}, or leave it out.",
            )
        scale, bias = (weights[name].number() if name in weights else None for name in ("logit_scale", "logit_bias"))
        return cls(
            model=spec.model,
            revision=spec.revision,
            dim=spec.truncate_dim or full,
            logit_scale=scale,
            logit_bias=bias,
            preprocess_fp=preprocess_fp(geometry),
            preprocess=geometry.body(),
            truncate_dim=spec.truncate_dim,
            allow_pickle=spec.allow_pickle,
            **more,
        )

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """As it was when `card` was written; what callers added to it is left out."""
        return cls(**{one.name: card[one.name] for one in fields(cls) if one.name in card})

    def card(self, **more: Any) -> dict[str, Any]:
        """Everything here as plain JSON data, with what the caller adds: precision, runtime versions."""
        return {"encoder_id": self.encoder_id, **asdict(self), "normalised": True, **more}
