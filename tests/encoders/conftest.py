"""Checkpoints that the tests of this folder share, built once."""

from pathlib import Path

import pytest
import torch

from tests.families import Families


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="session")
def clip_folder(families: Families) -> Path:
    return families.folder("clip")


@pytest.fixture(scope="session")
def siglip_folder(families: Families) -> Path:
    return families.folder("siglip")


@pytest.fixture(scope="session", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, families: Families) -> Path:
    return families.folder(request.param)
