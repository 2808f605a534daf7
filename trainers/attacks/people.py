"""People for the synthesis: a picture of a person, what of it is the person, and where the face is.

The pictures come from footage of the living (any clip or portrait). The matte lets a person stand
before other rooms; the mesh says where the face is, so that it can be relit, varied, printed,
shown or worn as a mask.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np

from ...engines import Engine, EngineError, load_engine
from ...nodes.frame import Frame
from ...nodes.mesh import CROP_SIDE, PRESENT, MeshNet, Square, square_of_mesh, to_frame
from ...nodes.passes import DETECTORS, Networks, Search, find_faces
from .light import to_linear, to_srgb
from .parameters import Array
from .portraits import PortraitsMissing, load_portrait, portrait_names

_SEARCH = Search(min_score=0.5, nms_iou=0.3, max_faces=3, min_face_px=24)
_MATTE_SIDE = 256
_SURE = 0.9
"""Presence of the mesh network from which a picture is taken as a source."""
_HALF = np.array([0.5, 0.5, 0.0], np.float32)
"""From a pixel's middle to its corner, for meshes."""

_FACES_AROUND = 4.5
LARGEST_FACE = 300.0
"""Longer side of a face's mesh box in a source's picture, at most."""


class NoPeople(EngineError):
    """No face was found in what should show people."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class PersonPicture:
    """One picture of one person."""

    person: str
    """Who it is: pictures of one person never stand on both sides of a split."""
    source: str
    """File or package that the picture comes from."""
    image: Array
    """uint8 RGB (h, w, 3)."""
    coverage: Array
    """float32 (h, w), 0..1: how much of each pixel the person covers."""
    mesh: Array
    """float32 (468, 3): face mesh in pixels of the picture, z in the same scale."""
    whole: bool
    """The matte is good enough to put the person before another room."""
    lent: tuple[str, ...] = ()
    """Other persons who lent it features."""

    @property
    def persons(self) -> frozenset[str]:
        """Everybody of whom it shows something."""
        return frozenset((self.person, *self.lent))

    @property
    def face_px(self) -> float:
        """Longer side of the mesh's box in pixels."""
        return float(np.ptp(self.mesh[:, :2], axis=0).max())


class FaceFinder:
    """Finds the largest face of a still picture, its mesh, and the person's matte."""

    def __init__(self, threads: int = 1, matte: bool = True) -> None:
        with ExitStack() as opened:
            self._networks: Networks = DETECTORS["full_range"](threads)
            opened.callback(self._networks.close)
            self._net = MeshNet(threads)
            opened.callback(self._net.close)
            self._matte: Engine | None = None
            if matte:
                self._matte = load_engine("person_matte", threads=threads, precision="f32")
                opened.callback(self._matte.close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give the engines back."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def mesh(self, image: Array, near: Square | None = None) -> Array | None:
        """Mesh of the largest face, or of the face in a square that is known; None: no face.

        Args:
            image: uint8 RGB (h, w, 3).
            near: Where the face is, if known: the crop of the mesh network.

        Returns:
            float32 (468, 3) in pixels of the picture.
        """
        square = self._detected(image) if near is None else near
        if square is None:
            return None
        mesh = None
        for _ in range(2):
            matrix = square.matrix()
            crop = _cut(image, matrix, CROP_SIDE)
            found, presence = self._net.infer(crop)
            if presence < (PRESENT if mesh is None else _SURE):
                return None
            mesh = to_frame(found, matrix)
            square = square_of_mesh(mesh)
        return mesh

    def _detected(self, image: Array) -> Square | None:
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        faces = find_faces(self._networks, Frame(picture.reformat(format="yuv420p"), 0), _SEARCH)
        if not faces:
            return None
        box = max(faces, key=lambda face: face.box.w * face.box.h * face.score).box
        return Square(*box.centre, 1.6 * max(box.w, box.h), 0.0)

    def person(self, image: Array, mesh: Array) -> tuple[Array, bool]:
        """What of a picture is the person with this face, and whether that is well known.

        The matte network sees whole bodies, so it looks at a square of about seven faces; where
        it leaves out much of the face the matte is not to be trusted.

        Returns:
            float32 (h, w) coverage, and bool.
        """
        assert self._matte is not None, "FaceFinder(matte=True)"
        middle, face = mesh[:, :2].mean(axis=0), float(np.ptp(mesh[:, 1]))
        best, good = np.zeros(image.shape[:2], np.float32), 0.0
        for faces in (5.0, 8.0):
            side = faces * face
            square = Square(float(middle[0]), float(middle[1] + 0.28 * side), side, 0.0)
            matrix = square.matrix(_MATTE_SIDE)
            found = self._matte.infer({"image": _cut(image, matrix, _MATTE_SIDE, border=0)[None]})
            logit = np.clip(found["person"][0, :, :, 0], -8, 8)
            share = (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
            matte = cv2.warpAffine(share, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)
            well = _agreement(matte, mesh)
            if well > good:
                best, good = np.asarray(matte), well
            if good > 0.97:
                break
        return _refined(image, best, mesh), good > 0.93


def _cut(image: Array, matrix: Array, side: int, border: int = cv2.BORDER_REPLICATE) -> Array:
    """A square of a picture, averaged down where it is larger than ``side``."""
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if step > 1.5:
        image = cv2.blur(image, (int(step) | 1, int(step) | 1))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mode = cv2.BORDER_REPLICATE if border else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=how, borderMode=mode))


def _agreement(matte: Array, mesh: Array) -> float:
    """Share of the face's points on which the matte says person."""
    x, y = np.round(mesh[:, :2]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < matte.shape[1]) & (y < matte.shape[0])
    return float((matte[y[inside], x[inside]] > 0.5).mean()) if inside.any() else 0.0


def _refined(image: Array, matte: Array, mesh: Array) -> Array:
    """The matte's edge laid on the picture's own edges (guided filter, He et al. 2010)."""
    radius = max(2, round(0.04 * float(np.ptp(mesh[:, 1]))))
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_m = cv2.blur(guide, size), cv2.blur(matte, size)
    slope = (cv2.blur(guide * matte, size) - mean_g * mean_m) / (
        cv2.blur(guide * guide, size) - mean_g * mean_g + 1e-3
    )
    offset = mean_m - slope * mean_g
    fine = cv2.blur(slope, size) * guide + cv2.blur(offset, size)
    refined: Array = np.clip((np.asarray(fine) - 0.2) / 0.65, 0.0, 1.0).astype(np.float32)
    return refined


def person_picture(finder: FaceFinder, image: Array, person: str, source: str) -> PersonPicture:
    """A source from one picture.

    Raises:
        NoPeople: no face is found in it.
    """
    mesh = finder.mesh(image)
    if mesh is None:
        raise NoPeople(f"{source}: expected a picture of a face, found none; leave the file out")
    coverage, whole = finder.person(image, mesh)
    return PersonPicture(person, source, image, coverage, mesh, whole)


def trimmed(picture: PersonPicture) -> PersonPicture:
    """The picture as the synthesis wants it.

    Cut to what crops can show, with a face of at most 300 px (the rest is slow), and without the
    haze that its camera laid over it: the synthetic camera brings its own.
    """
    scale = min(1.0, LARGEST_FACE / picture.face_px)
    image, coverage, mesh = picture.image, picture.coverage, picture.mesh
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        step = np.array([size[0] / image.shape[1], size[1] / image.shape[0], scale], np.float32)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        coverage = np.asarray(cv2.resize(coverage, size, interpolation=cv2.INTER_AREA))
        mesh = ((mesh + _HALF) * step - _HALF).astype(np.float32)
    image = _clear(image)
    reach = _FACES_AROUND / 2 * float(np.ptp(mesh[:, :2], axis=0).max())
    x, y = mesh[:, :2].mean(axis=0)
    left, top = max(int(x - reach), 0), max(int(y - reach), 0)
    part = (slice(top, int(y + reach) + 1), slice(left, int(x + reach) + 1))
    return replace(
        picture,
        image=np.ascontiguousarray(image[part]),
        coverage=np.ascontiguousarray(coverage[part]),
        mesh=mesh - np.array([left, top, 0], np.float32),
    )


def enlarged(picture: PersonPicture, face_px: float) -> PersonPicture:
    """The picture enlarged until its face has this size, in pixels."""
    scale = face_px / picture.face_px
    size = (round(picture.image.shape[1] * scale), round(picture.image.shape[0] * scale))
    step = np.array([size[0] / picture.image.shape[1], size[1] / picture.image.shape[0], scale])
    mesh = (picture.mesh + _HALF) * step - _HALF
    return replace(
        picture,
        image=np.asarray(cv2.resize(picture.image, size, interpolation=cv2.INTER_CUBIC)),
        coverage=np.asarray(cv2.resize(picture.coverage, size, interpolation=cv2.INTER_LINEAR)),
        mesh=mesh.astype(np.float32),
    )


def _clear(image: Array) -> Array:
    """Blacks black and whites white, in linear light; colours keep their balance."""
    linear = to_linear(image)
    sample = linear[::3, ::3]
    low = float(np.percentile(sample.min(axis=2), 1.0))
    high = float(np.percentile(sample.max(axis=2), 99.0))
    if high - low < 0.02:
        return image
    stretched = (linear - low) * (min(0.95, 3.0 * high) / (high - low))
    cleared: Array = np.rint(to_srgb(stretched) * 255).astype(np.uint8)
    return cleared


def portrait_pictures(finder: FaceFinder) -> list[PersonPicture]:
    """The public-domain portraits that packages carry; those not installed are left out."""
    found = []
    for name in portrait_names():
        try:
            portrait = load_portrait(name)
        except PortraitsMissing:
            continue
        picture = person_picture(finder, portrait.image, name, portrait.credit)
        outlined = np.zeros(picture.coverage.shape, np.float32)
        cv2.fillPoly(outlined, [np.round(portrait.outline).astype(np.int32)], 1.0)
        soft = cv2.GaussianBlur(outlined, (0, 0), 1.5)
        found.append(replace(picture, coverage=np.asarray(soft), whole=True))
    return found


def clip_pictures(
    finder: FaceFinder, path: Path, person: str, count: int, longest: int = 1280
) -> list[PersonPicture]:
    """Pictures of a person, evenly over a clip.

    Args:
        finder: Finds the faces.
        path: A video.
        person: Who is in it.
        count: How many at most.
        longest: Larger pictures are shrunk to this many pixels, which also hides their codec.
    """
    found = []
    for index, image in _spread(path, count):
        side = max(image.shape[:2])
        if side > longest:
            size = (image.shape[1] * longest // side, image.shape[0] * longest // side)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        mesh = finder.mesh(image)
        if mesh is None:
            continue
        coverage, whole = finder.person(image, mesh)
        found.append(PersonPicture(person, f"{path.name}#{index}", image, coverage, mesh, whole))
    return found


def _spread(path: Path, count: int) -> Iterator[tuple[int, Array]]:
    with av.open(str(path)) as container:
        frames = sum(1 for packet in container.demux(video=0) if packet.size)
    wanted = set(np.unique(np.linspace(2, max(frames - 3, 2), count).astype(int)).tolist())
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                yield index, frame.to_ndarray(format="rgb24")
