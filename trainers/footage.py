"""Crop stores from real footage: the faces of labelled pictures and videos, cut as the nodes do.

For validation on real attacks beside every synthetic score, and for training where a licence
allows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from ..engines.errors import EngineError
from ..nodes.crops import context_crop, face_crop, face_patches, picture_frame
from ..nodes.mesh import square_of_mesh, to_crop
from .attacks.parameters import Array
from .attacks.people import FaceFinder
from .crops import CropRow, Crops, CropWriter, Species
from .data.frames import Undecodable, read_frames
from .data.sample import Sample
from .labels.depth import depth_label, plane_label

_KNOWN = ("live", "print", "screen", "mask", "partial")


class FootageError(EngineError):
    """Footage cannot be used as asked."""


@dataclass(frozen=True, slots=True)
class FootageCount:
    """What came of footage."""

    pictures: int
    """Pictures looked at."""
    faces: int
    """Pictures with a face, which are in the store."""
    unreadable: tuple[str, ...]
    """Why items could not be read, or not to their end; a sentence each."""


def store_footage(
    samples: Iterable[Sample], writer: CropWriter, finder: FaceFinder, step: int = 1
) -> FootageCount:
    """Cut the largest face of every picture; of an item that stops, those before.

    Args:
        samples: Labelled items.
        writer: The open store.
        finder: Finds faces.
        step: Take every so many frames of an item.

    Raises:
        FootageError: a sample's species has no place in a store.
        DataError: what reading an item needs is not installed.
    """
    pictures = faces = 0
    unreadable: list[str] = []
    for sample in samples:
        if sample.species not in _KNOWN:
            raise FootageError(
                f"{sample.path}: expected a species of {', '.join(_KNOWN)}, found "
                f"{sample.species!r}; leave it out"
            )
        try:
            for index, image in enumerate(read_frames(sample, step)):
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
        id=f"{sample.recording}#{index}",
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
    )
