"""From a model's name to a folder that does not change: a local one, the shipped one, a copy from S3, or of the hub."""

import logging
import re
from difflib import get_close_matches
from pathlib import Path

from clipflow.encoders.bucket_folder import fetched_folder
from clipflow.errors import EncoderError, first_line
from clipflow.uri import shown

DEMO = "demo"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Everything a checkpoint needs and nothing that could be code; the models' own folders of other formats stay away.
_WANTED = ("*.json", "merges.txt", "vocab.txt", "*.model")
PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")

_CODE = ("*.json", "*.py")

log = logging.getLogger(__name__)


def is_folder(model: str) -> bool:
    """Whether a model's name is that of a folder, and not of a repository on the hub."""
    return is_on_s3(model) or model.startswith((".", "/", "~")) or Path(model).expanduser().is_dir()


def is_on_s3(model: str) -> bool:
    """Whether a model's name is the address of a folder on S3."""
    return model.lower().startswith("s3://")


def find_folder(
    model: str, revision: str | None, weights: tuple[str, ...] = WEIGHTS, *, code: bool = False
) -> tuple[Path, str | None]:
    """The folder that holds the model, and the hub's commit if it came from there.

    Args:
        model: `demo`, a folder (it begins with `.`, `/`, `~` or `s3://`, or is there), or a hub id `owner/name`.
        revision: Branch, tag or commit on the hub.
        weights: Patterns of what is wanted from the hub or S3 besides configuration and tokenizer.
        code: Whether to download its Python files too; nothing here runs them.

    Raises:
        EncoderError: No such model, or it cannot be had from here.
        StorageUnavailable: S3 did not answer.
    """
    if model == DEMO:
        return _demo(), None
    wanted = (*_WANTED, *weights, *(("*.py",) if code else ()))
    if is_folder(model):
        path = Path(model).expanduser()
        if not (is_on_s3(model) or path.is_dir()):
            raise EncoderError(f"There is no folder {model}.", "Check encoder.model.")
        if revision is not None:
            name = shown(model)
            raise EncoderError(f"{name} is a folder, and folders have no revisions.", "Leave out encoder.revision.")
        return fetched_folder(model, wanted) if is_on_s3(model) else path.resolve(), None
    if not _HUB_ID.fullmatch(model):
        nearest = f" Did you mean {DEMO!r}?" if get_close_matches(model, [DEMO]) else ""
        raise EncoderError(
            f"{shown(model)!r} names no model.{nearest}",
            "A model is a hub id such as openai/clip-vit-base-patch32, a folder such as ./model or s3://bucket/model/, "
            "or demo.",
        )
    folder = _snapshot(model, revision, wanted)
    if revision is None or not _COMMIT.fullmatch(revision):
        log.warning("%s can move on the hub; this is commit %s: name it as encoder.revision", model, folder.name)
    return folder, folder.name


def find_code_folder(repository: str, commit: str) -> Path:
    """The folder that holds a hub repository's Python files and configuration at a commit, without weights.

    Raises:
        EncoderError: As for `find_folder`.
    """
    if not _HUB_ID.fullmatch(repository):
        raise EncoderError(f"{repository!r} is no repository on the hub.", "Check auto_map in the model's config.json.")
    return _snapshot(repository, commit, _CODE)


def _demo() -> Path:
    folder = Path(__file__).resolve().parent.parent / "demo" / "encoder"
    if not (folder / "config.json").is_file():
        raise EncoderError("The encoder that ships with clipflow is missing.", "Install clipflow from a wheel.")
    return folder


def _snapshot(model: str, revision: str | None, wanted: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at {revision}" if revision else ""
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(wanted), ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise EncoderError(
            f"{model} is gated.", "Accept its terms on the hub and set HF_TOKEN where the model is loaded."
        ) from error
    except RevisionNotFoundError as error:
        raise EncoderError(f"{model} has no revision {revision}.", "Check encoder.revision.") from error
    except RepositoryNotFoundError as error:
        raise EncoderError(
            f"The hub has no model {model}, or it is private.", "Check encoder.model; for a private one set HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise EncoderError(
            f"{model}{at} is not in the local cache, and the hub cannot be reached.",
            "Connect, or put the files into a folder and name that.",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise EncoderError(
            f"{model}{at} cannot be downloaded: {first_line(error)}", "Check the network and try again."
        ) from error
    if not _COMMIT.fullmatch(folder.name):
        raise EncoderError(f"The hub's cache holds {model} in {folder}, which names no commit.", "Clear the cache.")
    return folder
