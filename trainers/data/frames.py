"""The pictures of a sample, one at a time: video, picture, folder of frames or 3DMAD's HDF5."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from ...nodes.capture_media import unreadable
from ...nodes.sources import PICTURES, natural_order
from .sample import DataError, Sample

Picture = npt.NDArray[np.uint8]
_HDF5 = frozenset((".hdf5", ".h5"))


class Undecodable(DataError):
    """A file holds something else than pictures, or stops."""


def read_frames(sample: Sample, step: int = 1) -> Iterator[Picture]:
    """Pictures of a sample in order, uint8 RGB (h, w, 3); opened as they are asked for.

    Args:
        sample: What to read.
        step: Take every so many frames, from the first on.

    Raises:
        Undecodable: a file cannot be decoded.
        DataError: what reading it needs is not installed.
    """
    path = sample.path
    if path.is_dir():
        for picture in _pictures(path)[::step]:
            yield _read_picture(picture)
    elif path.suffix.lower() in PICTURES:
        yield _read_picture(path)
    elif path.suffix.lower() in _HDF5:
        yield from _read_hdf5(path, step)
    else:
        yield from _read_video(path, step)


def _pictures(folder: Path) -> list[Path]:
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.stat().st_size]
    return sorted((p for p in found if not p.name.startswith(".")), key=natural_order)


def decoded_picture(path: Path, flags: int = cv2.IMREAD_COLOR_RGB) -> Picture | None:
    """A picture file, uint8 RGB (h, w, 3) or as OpenCV's ``flags`` say; None where it is none."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, flags) if data.size else None  # OpenCV raises for no bytes.
    return None if picture is None else np.asarray(picture, np.uint8)


def _read_picture(path: Path) -> Picture:
    picture = decoded_picture(path)
    if picture is None:
        raise _undecodable(path, unreadable("a picture", "no picture in it"))
    return picture


def _read_video(path: Path, step: int) -> Iterator[Picture]:
    try:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % step == 0:
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.error.FFmpegError, IndexError) as error:
        raise _undecodable(path, unreadable("a video", error)) from error


def _read_hdf5(path: Path, step: int) -> Iterator[Picture]:
    """Frames of 3DMAD: ``Color_Data``, uint8 (frames, 3, height, width) in planes of R, G, B."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"3DMAD file {path}: expected the package h5py to read it, found none; "
            "run pip install h5py"
        ) from error
    with h5py.File(path, "r") as file:
        if "Color_Data" not in file:
            inside = ", ".join(file) or "nothing"
            raise _undecodable(path, f"expected Color_Data of 3DMAD, found {inside}; copy it again")
        colour = file["Color_Data"]
        for index in range(0, colour.shape[0], step):
            planes = np.asarray(colour[index], np.uint8)
            yield np.ascontiguousarray(planes.transpose(1, 2, 0) if len(planes) == 3 else planes)


def _undecodable(path: Path, told: str) -> Undecodable:
    return Undecodable(f"sample {path}: {told}")
