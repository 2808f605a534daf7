"""Crop stores from real footage: the faces of labelled pictures and videos, cut as the nodes do.

For validation on real attacks beside every synthetic score, and for training where a licence
allows it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..engines.errors import EngineError
from ..nodes.crops import context_crop, face_crop, face_patches, picture_frame
from ..nodes.mesh import square_of_mesh, to_crop
from .attacks.parameters import Array
from .attacks.people import FaceFinder
from .crops import CropRow, Crops, CropWriter, Species
from .data.frames import Undecodable, read_frames
from .data.sample import Sample
from .labels.depth import depth_label, plane_label

_NO_MESH = np.zeros((1, 2), np.float32)
_KNOWN = ("live", "print", "screen", "mask", "partial")


class FootageError(EngineError):
    """Footage cannot be used as asked."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class FootageCount:
    """What came of footage."""

    pictures: int
    """Pictures looked at."""
    faces: int
    """Pictures with a face, which are in the store."""
    unreadable: tuple[str, ...]
    """Why items could not be read, or not to their end; a sentence each."""


def footage_order(samples: Sequence[Sample], step: int) -> dict[str, Any]:
    """What a store of footage is begun with, as :func:`~.crops.begin_store` keeps it."""
    told = [str(_row(sample, 0, _NO_MESH)) for sample in samples]
    return {
        "made by": "footage",
        "step": step,
        "items": len(samples),
        "their names and labels": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
    }


def store_footage(
    samples: Sequence[Sample],
    writer: CropWriter,
    finder: FaceFinder,
    step: int = 1,
    there: Sequence[CropRow] = (),
) -> FootageCount:
    """Cut the largest face of every picture; of an item that stops, those before.

    Args:
        samples: Labelled items.
        writer: The open store.
        finder: Finds faces.
        step: Take every so many frames of an item.
        there: Rows that the store has already of these items, cut with the same step. The item of
            the last one is gone on with after it, others that have rows are done.

    Raises:
        FootageError: a sample's species has no place in a store.
        DataError: what reading an item needs is not installed.
    """
    pictures = faces = 0
    unreadable: list[str] = []
    for sample, first in _to_look_at(samples, there):
        if sample.species not in _KNOWN:
            raise FootageError(
                f"{sample.path}: expected a species of {', '.join(_KNOWN)}, found "
                f"{sample.species!r}; leave it out"
            )
        try:
            for index, image in enumerate(read_frames(sample, step)):
                if index * step < first:
                    continue
                pictures += 1
                mesh = finder.mesh(image)
                if mesh is None:
                    continue
                faces += 1
                row = _row(sample, sample.frame or index * step, mesh)
                writer.add(row, crops_of_face(image, mesh, sample.species))
        except Undecodable as error:
            unreadable.append(str(error))
    return FootageCount(pictures, faces, tuple(unreadable))


def _to_look_at(
    samples: Sequence[Sample], there: Sequence[CropRow]
) -> Iterator[tuple[Sample, int]]:
    """The item that was interrupted, with the frame to go on with, then those without crops.

    One item is cut after the other, so only that of the last row can lack some.
    """
    clips, ids = {row.clip for row in there}, {row.id for row in there}
    clip, _, frame = there[-1].id.rpartition("#") if there else ("", "", "")
    yield from ((s, int(frame) + 1) for s in samples if s.recording == clip and s.frame is None)
    for sample in samples:
        whole = sample.frame is None
        seen = sample.recording in clips if whole else _id(sample, sample.frame or 0) in ids
        if not seen:
            yield sample, 0


def _id(sample: Sample, index: int) -> str:
    return f"{sample.recording}#{index}"


def crops_of_face(image: Array, mesh: Array, species: str) -> Crops:
    """The crops of one face of a picture.

    Args:
        image: uint8 RGB (h, w, 3).
        mesh: float32 (468, 3), pixels of the picture.
        species: Decides over the depth label: a face's for live and mask, else nothing.
    """
    frame = picture_frame(image)
    depth = plane_label()
    if species in ("live", "mask"):
        depth = depth_label(to_crop(mesh, square_of_mesh(mesh, 1.5).matrix(256)), 256)
    return Crops(
        face=face_crop(frame, mesh),
        context=context_crop(frame, mesh),
        patches=face_patches(frame, mesh),
        depth=depth,
    )


def _person(sample: Sample) -> str:
    """Who is shown, so that a name stands for one person in all stores.

    Data sets number their people each from 1. In plain folders the names are the user's own: the
    same as of ``padflow synthesise --people``, or who is held out by name would still be learned
    from in the videos of a second store.
    """
    if not sample.person:
        return sample.recording
    return sample.person if sample.dataset == "plain" else f"{sample.dataset}:{sample.person}"


def _row(sample: Sample, index: int, mesh: Array) -> CropRow:
    size = float((mesh[:, :2].max(axis=0) - mesh[:, :2].min(axis=0)).max())
    return CropRow(
        id=_id(sample, index),
        label=sample.label,
        species=cast(Species, sample.species),
        instrument=sample.instrument,
        person=_person(sample),
        medium=sample.medium,
        camera=sample.camera,
        source=sample.dataset,
        seed=0,
        face_px=round(size, 2),
        clip=sample.recording,
        shows=sample.shows,
    )
