"""Footage that attacks are made from: a few seconds of a clip, or a portrait, with the face found.

Any source will do: nothing is asked of it but one face that is seen most of the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from ...nodes.capture_media import unreadable
from ...nodes.mesh import square_of_mesh
from ...nodes.sources import PICTURES
from ..data.frames import decoded_picture
from .parameters import Array
from .people import FaceFinder, NoPeople, PersonPicture

LONGEST = 960
"""Pixels: larger footage is shrunk, which also hides its codec."""
_LARGEST_FACE = 260.0
_STEADY = 1.2
"""Frames over which the mesh is smoothed, standard deviation: masks must not jitter with it."""
_SEEN = 0.5
"""Share of the frames that must show the face."""


class SourceUnreadable(NoPeople):
    """A source cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Footage:
    """Pictures of one person, one for each frame of a video to come."""

    person: str
    source: str
    start: float
    """Seconds of the source at which it begins."""
    frames: tuple[PersonPicture, ...]
    """All of one size. Their coverage is empty: they keep their own surroundings."""
    still: bool
    """The source is a picture: all frames are the same."""


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.suffix.lower() in PICTURES


def read_footage(
    finder: FaceFinder, path: Path, person: str, seconds: float, fps: int, share: float
) -> Footage:
    """Some seconds of a source.

    Args:
        finder: Finds the face.
        path: A video or a picture.
        person: Who is shown.
        seconds: How much; a shorter video gives all that it has.
        fps: Frames per second wanted; a slower video repeats its frames.
        share: Where to begin, from 0, the source's beginning, to 1, as late as possible.

    Raises:
        SourceUnreadable: The file cannot be decoded.
        NoPeople: The face is not found in half of the frames.
    """
    if is_picture(path):
        return _of_picture(finder, path, person, max(1, round(seconds * fps)))
    start, images = _of_video(path, seconds, fps, share)
    meshes = _meshes(finder, images, path)
    largest = max(_face_px(mesh) for mesh in meshes)
    scale = min(1.0, _LARGEST_FACE / largest)
    if scale < 1:
        images = [_scaled(image, scale) for image in images]
        meshes = [_with(mesh, scale) for mesh in meshes]
    return Footage(person, path.name, start, _pictures(images, meshes, person, path.name), False)


def _of_picture(finder: FaceFinder, path: Path, person: str, count: int) -> Footage:
    read = decoded_picture(path)
    if read is None:
        raise SourceUnreadable(f"{path}: {unreadable('a picture', 'no picture in it')}")
    image = _within(read)
    (mesh,) = _meshes(finder, [image], path)
    scale = min(1.0, _LARGEST_FACE / _face_px(mesh))
    (frame,) = _pictures([_scaled(image, scale)], [_with(mesh, scale)], person, path.name)
    return Footage(person, path.name, 0.0, (frame,) * count, True)


def _of_video(path: Path, seconds: float, fps: int, share: float) -> tuple[float, list[Array]]:
    try:
        with av.open(str(path)) as container:
            duration = _duration(container)
            start = max(duration - seconds - 0.1, 0.0) * share
            images = list(_frames(container, start, max(1, round(seconds * fps)), fps))
    except (av.error.FFmpegError, IndexError) as error:
        raise SourceUnreadable(f"{path}: {unreadable('a video or picture', error)}") from error
    if not images:
        raise SourceUnreadable(f"{path}: {unreadable('a video or picture', 'no picture in it')}")
    return start, images


def _duration(container: av.container.InputContainer) -> float:
    """Seconds of video; 0 where the file does not say."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def _frames(
    container: av.container.InputContainer, start: float, count: int, fps: int
) -> Iterator[Array]:
    """The frames that are up at ``count`` times, one every 1/fps seconds."""
    first: float | None = None
    given, image, index = 0, None, -1
    for index, frame in enumerate(container.decode(video=0)):
        time = float(frame.time) if frame.time is not None else index / fps
        first = time if first is None else first
        while image is not None and given < count and start + (given + 0.5) / fps <= time - first:
            yield image
            given += 1
        if given >= count:
            return
        if time - first >= start - 1.0 / fps:
            image = _upright(frame)
    if image is not None and given < count:
        yield image


def _upright(frame: av.VideoFrame) -> Array:
    picture = frame.to_ndarray(format="rgb24")
    turned = np.rot90(picture, -frame.rotation // 90) if frame.rotation else picture
    return _within(np.ascontiguousarray(turned))


def _within(image: Array) -> Array:
    """Shrunk to the longest side, even sides."""
    return _scaled(image, min(1.0, LONGEST / max(image.shape[:2])))


def _scaled(image: Array, scale: float) -> Array:
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _with(mesh: Array, scale: float) -> Array:
    half = np.array([0.5, 0.5, 0.0])
    return np.asarray((mesh + half) * scale - half, np.float32)


def _face_px(mesh: Array) -> float:
    return float(np.ptp(mesh[:, :2], axis=0).max())


def _meshes(finder: FaceFinder, images: Sequence[Array], path: Path) -> list[Array]:
    found: list[Array | None] = []
    last: Array | None = None
    for image in images:
        mesh = None if last is None else finder.mesh(image, square_of_mesh(last))
        last = finder.mesh(image) if mesh is None else mesh
        found.append(last)
    known = [mesh for mesh in found if mesh is not None]
    if len(known) < _SEEN * len(found) or not known:
        raise NoPeople(
            f"{path}: expected a face in most frames, found one in {len(known)} of {len(found)}; "
            "give a source that shows a face"
        )
    held = known[0]
    whole = []
    for one in found:
        held = held if one is None else one
        whole.append(held)
    if len(whole) == 1:
        return whole
    steady = gaussian_filter1d(np.stack(whole), _STEADY, axis=0, mode="nearest")
    return list(steady.astype(np.float32))


def _pictures(
    images: Sequence[Array], meshes: Sequence[Array], person: str, source: str
) -> tuple[PersonPicture, ...]:
    nothing = np.zeros(images[0].shape[:2], np.float32)
    return tuple(
        PersonPicture(person, source, image, nothing, mesh, False)
        for image, mesh in zip(images, meshes, strict=True)
    )
