"""Extras: which libraries the engine needs, and what to say where they are not installed.

One wheel serves Airflow's workers, which need no model, and Ray's nodes: `clipflow` and `clipflow[engine]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from clipflow.errors import MissingEngine

ENGINE = frozenset(
    {"PIL", "duckdb", "huggingface_hub", "lance", "lancedb", "numpy", "pyarrow", "ray", "safetensors", "simplejpeg"}
    | {"tabulate", "tokenizers", "torch", "tqdm", "transformers"}
)
"""The modules that the extra `engine` brings, by the names they are imported under."""


@contextmanager
def engine_needed() -> Iterator[None]:
    """Run a block that imports the engine.

    Raises:
        MissingEngine: One of its libraries is not installed; other missing modules stay as they are.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in ENGINE:
            raise
        raise MissingEngine(
            f"{name} is not installed: clipflow is here without its engine.",
            'Run: pip install "clipflow[engine]"',
        ) from error
