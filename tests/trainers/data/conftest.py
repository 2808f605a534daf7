"""Every dataset's tree, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.data import trees

MAKERS: dict[str, Callable[[Path], Path]] = {
    "oulu-npu": trees.oulu,
    "casia-fasd": trees.casia,
    "replay-attack": trees.replay,
    "msu-mfsd": trees.msu,
    "siw": trees.siw,
    "siw-m": trees.siw_m,
    "3dmad": trees.three_dmad,
    "hkbu-mars": trees.hkbu,
    "celeba-spoof": trees.celeba,
    "nuaa": trees.nuaa_released,
}


@pytest.fixture(scope="session")
def whole_releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of every layout's whole tree; not to be written to."""
    folder = tmp_path_factory.mktemp("releases")
    return {name: make(folder / name) for name, make in MAKERS.items()}
