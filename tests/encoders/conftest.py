"""Checkpoints that the tests of this folder share, built once."""

from pathlib import Path

import pytest
import torch

from tests.tiny_models import tiny_clip, tiny_siglip


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip(tmp_path_factory.mktemp("siglip") / "tiny")


@pytest.fixture(scope="session", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, clip_folder: Path, siglip_folder: Path) -> Path:
    return clip_folder if request.param == "clip" else siglip_folder
