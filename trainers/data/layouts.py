"""The layouts that can be read, by name; a new dataset is a reader and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...graph.schema import unknown_name
from .casia import read_casia
from .celeba import read_celeba
from .masks import read_3dmad, read_hkbu, read_siw_m
from .nuaa import read_nuaa
from .phones import read_oulu, read_siw
from .plain import read_plain
from .replay import read_msu, read_replay
from .sample import DataError, Dataset

AUTO = "auto"
"""Stands for the layout that the folder's own names tell."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one dataset lies on disk."""

    read: Callable[[Path], Dataset]
    marks: tuple[str, ...]
    """Glob patterns relative to the root, any of which tells the layout."""


_LAYOUTS: Mapping[str, Layout] = {
    "oulu-npu": Layout(read_oulu, ("Train_files", "Dev_files", "Test_files")),
    "casia-fasd": Layout(read_casia, ("train_release", "test_release")),
    "replay-attack": Layout(read_replay, ("devel/real", "train/real", "test/real")),
    "msu-mfsd": Layout(read_msu, ("train_sub_list.txt", "scene01")),
    "siw": Layout(read_siw, ("Train/live", "Test/live")),
    "siw-m": Layout(read_siw_m, ("Spoof/Paper", "Spoof/Replay", "Spoof/Makeup*")),
    "3dmad": Layout(read_3dmad, ("*.hdf5", "Data/*.hdf5", "session01/*.hdf5")),
    "celeba-spoof": Layout(read_celeba, ("metas/intra_test",)),
    "nuaa": Layout(read_nuaa, ("client_train_raw.txt", "ClientRaw")),
    "hkbu-mars": Layout(read_hkbu, ()),
    "plain": Layout(read_plain, ("live", "attack")),
}


def layouts() -> tuple[str, ...]:
    """Names of the layouts that can be read."""
    return tuple(_LAYOUTS)


def detect_layout(root: Path) -> str:
    """The layout whose folders and files lie in a folder.

    Raises:
        DataError: the folder is not there, or nothing in it tells a layout.
    """
    if not root.is_dir():
        raise DataError(f"dataset {root}: expected a folder, found none; check the path")
    for name, layout in _LAYOUTS.items():
        if any(any(root.glob(mark)) for mark in layout.marks):
            return name
    raise DataError(
        f"dataset {root}: expected live/ and attack/<species>/ or a known dataset's folders, "
        f"found neither; name the layout, one of {', '.join(_LAYOUTS)}"
    )


def read_dataset(layout: str, root: str | Path) -> Dataset:
    """Find and sort all of a dataset; opens no video and no picture.

    Args:
        layout: One of :func:`layouts`, or ``auto``.
        root: The dataset's folder.

    Raises:
        DataError: the layout is unknown, the folder or a list that it needs is missing or
            malformed, or nothing usable is there.
    """
    root = Path(root)
    name = detect_layout(root) if layout == AUTO else layout
    if name not in _LAYOUTS:
        raise DataError(f"layout: {unknown_name(name, (*_LAYOUTS, AUTO))}")
    if not root.is_dir():
        raise DataError(f"dataset {root}: expected a folder, found none; check the path")
    found = _LAYOUTS[name].read(root)
    if not found.samples:
        raise DataError(
            f"dataset {root}: expected samples in the layout {name}, found nothing usable "
            f"({len(found.unreadable)} files unreadable, {len(found.surplus)} not of this "
            "layout); check the path and the layout"
        )
    return found
