"""The lane of the images: what a wheel brings into a clean environment. It needs the network, or a registry."""

from pathlib import Path

import pytest

from tests.images.install import airflow_image, ray_resolution, wheels

__all__ = ["airflow_image", "ray_resolution", "wheels"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.images)
            # The first of them waits for the installation.
            item.add_marker(pytest.mark.timeout(1200))
