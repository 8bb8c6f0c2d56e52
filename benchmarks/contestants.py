"""Who is compared: each a command that ends with one committed row per photograph."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.usage import ROOT

OPEN_CLIP_PYTHON = ROOT / ".venv-open-clip" / "bin" / "python"


@dataclass(frozen=True)
class Work:
    """What a contestant is given.

    Attributes:
        photographs: What clipflow lists: a folder, or a bucket at `endpoint`.
        endpoint: Where that bucket is served; None for a folder.
        listed: The same photographs, a path or URL a line.
        checkpoint: The folder of the model.
        open_clip: The same weights for open_clip.
        table: What to make.
    """

    photographs: str
    endpoint: str | None
    listed: Path
    checkpoint: Path
    open_clip: Path
    table: Path


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        letter: Its short name.
        name: Its name.
        slow: Runs over fewer photographs.
    """

    letter: str
    name: str
    slow: bool

    @property
    def ours(self) -> bool:
        """Whether the others are held against it."""
        return False

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return sys.executable

    def missing(self) -> str | None:
        """What it needs and this machine lacks."""
        return None

    def command(self, work: Work) -> Sequence[str]:
        """What follows `python -m`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Peer(Contestant):
    """A module of `benchmarks.peers`."""

    module: str
    how: tuple[str, ...] = ()
    needs: str | None = None

    def missing(self) -> str | None:
        """Its library."""
        return self.needs if self.needs and find_spec(self.needs) is None else None

    def command(self, work: Work) -> Sequence[str]:
        """LIST CHECKPOINT TABLE, and how."""
        return (
            f"benchmarks.peers.{self.module}",
            str(work.listed),
            str(work.checkpoint),
            str(work.table),
            *self.how,
        )


class OpenClip(Peer):
    """In an environment of its own, because it needs torchvision and so another torch."""

    @property
    def python(self) -> str:
        """That of `make test-open-clip`."""
        return str(OPEN_CLIP_PYTHON)

    def missing(self) -> str | None:
        """That environment."""
        return None if OPEN_CLIP_PYTHON.exists() else OPEN_CLIP_PYTHON.parent.parent.name

    def command(self, work: Work) -> Sequence[str]:
        """LIST WEIGHTS TABLE."""
        return f"benchmarks.peers.{self.module}", str(work.listed), str(work.open_clip), str(work.table)


@dataclass(frozen=True)
class Clipflow(Contestant):
    """`clipflow run` without Ray, so that the whole run is one process."""

    backend: str

    @property
    def ours(self) -> bool:
        """The one to compare with."""
        return True

    def missing(self) -> str | None:
        """The library of its backend, or our use of it."""
        if find_spec(self.backend) is None:
            return self.backend
        from clipflow.errors import ClipflowError
        from clipflow.later import check_supported
        from clipflow.spec import JobSpec

        try:
            check_supported(JobSpec.model_validate(self._job("none/", None, "none", "none.lance")))
        except ClipflowError:
            return f"support of {self.backend}"
        return None

    def command(self, work: Work) -> Sequence[str]:
        """The job file lies beside the table."""
        path = work.table.with_suffix(".yaml")
        body = self._job(work.photographs, work.endpoint, str(work.checkpoint), str(work.table))
        path.write_text(json.dumps(body))  # JSON is YAML
        return "clipflow", "run", str(path), "--ray", "none", "--json"

    def _job(self, photographs: str, endpoint: str | None, checkpoint: str, table: str) -> dict[str, object]:
        return {
            "name": "bench",
            "source": {"uri": photographs, **({"storage": {"endpoint": endpoint}} if endpoint else {})},
            "encoder": {"model": checkpoint},
            "table": {"uri": table},
            "compute": {"backend": self.backend},
        }


ALL: tuple[Contestant, ...] = (
    Peer("a", "Hugging Face, one by one", True, "hugging_face", ("one",)),
    Peer("b", "Hugging Face, batches, fp32", False, "hugging_face", ("fp32",)),
    Peer("c", "Hugging Face, batches, bf16", False, "hugging_face", ("bf16",)),
    Peer("d", "sentence-transformers", True, "sentence", needs="sentence_transformers"),
    OpenClip("e", "open_clip, DataLoader", True, "open_clip_loader"),
    Peer("f", "Ray Data, as documented", True, "ray_data"),
    Peer("g", "Daft, fp32 UDF", True, "daft_frame", ("processor",), "daft"),
    Peer("g2", "Daft, clipflow's encoder", False, "daft_frame", ("clipflow",), "daft"),
    Clipflow("h", "clipflow, torch", False, "torch"),
    Clipflow("i", "clipflow, OpenVINO", False, "openvino"),
)

REFERENCE = "b"
"""Whose vectors the others' are compared with."""


def chosen(letters: Sequence[str] | None) -> list[Contestant]:
    """Those that can run here, and a word on those that cannot; the reference always comes first."""
    found = []
    for one in ALL:
        if letters and one.letter not in (*letters, REFERENCE):
            continue
        if lacks := one.missing():
            print(f"({one.letter}) {one.name} is left out: no {lacks} here", file=sys.stderr)
            continue
        found.append(one)
    return sorted(found, key=lambda one: one.letter != REFERENCE)


def credentials() -> dict[str, str]:
    """For the store on loopback, which asks for none but whose clients want some."""
    return {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "NO_PROXY": _no_proxy()}


def _no_proxy() -> str:
    return ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
