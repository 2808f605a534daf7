"""What travels between the nodes of the face graph, from detection to event.

Boxes are (x, y, w, h) in upright pixels of the frame, as floats; they may reach past its border.
Images are uint8 RGB of shape (height, width, 3). Times are seconds of capture time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .evidence import Evidence
from .frame import Frame


class Box(NamedTuple):
    """A rectangle in upright pixels."""

    x: float
    y: float
    w: float
    h: float

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box in pixels."""
        return self.x + self.w / 2, self.y + self.h / 2


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face that the detector found."""

    box: Box
    score: float
    """0 to 1."""
    keypoints: np.ndarray
    """float32 (n, 2), pixels: right eye, left eye, nose tip, mouth, then detector-specific ones."""


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """A frame and what the detector says of it (port type of ``detect.faces``)."""

    frame: Frame
    faces: tuple[DetectedFace, ...] | None
    """None where the detector did not run on this frame (its cadence); empty: ran, no face."""
    detect_now: Callable[[], tuple[DetectedFace, ...]]
    """Runs the detector on this frame at once, for a tracker that lost a face; same process."""
    frozen: bool = False
    """The picture has been the very same for so long that it does not show what is there now."""


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """One track in one frame (port type of ``track.tracks``; the packet's key is the track)."""

    frame: Frame
    box: Box
    detected: bool
    """True where a detection confirmed the box in this very frame."""
    score: float
    """Score of the last detection, 0 to 1."""
    keypoints: np.ndarray | None
    """float32 (n, 2) pixels as in :class:`DetectedFace`, moved with the picture, or None."""
    lost_for: float
    """Seconds since the picture last confirmed the box (detection or flow); 0 when it did now."""
    started: float
    """Capture time at which the track began."""
    frozen: bool = False
    """As in :class:`FrameFaces`."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How much an observation of a face can be worth."""

    size: float
    """Interocular distance times 2.5, in pixels of the frame: the face's width."""
    sharpness: float
    """Unitless, 0 (blurred) to 1 (as sharp as the pixel grid allows at this size)."""
    exposure: float
    """Mean luma of the skin, 0 to 255."""
    clipped: float
    """Share of skin pixels at the ends of the range, 0 to 1."""
    yaw: float
    """Head pose in degrees: positive turns to the picture's right."""
    pitch: float
    """Degrees, positive looks down."""
    roll: float
    """Degrees, positive turns clockwise in the picture."""
    presence: float
    """Probability of the mesh network that a face is in the crop, 0 to 1."""
    occlusion: float
    """Hint, 0 to 1: share of the face that does not look like the track's own face."""
    motion: float
    """Speed of the face centre, in face widths per second."""
    colour: float = 255.0
    """How far the colours of the whole picture reach, in levels of chroma, as of
    :meth:`.Frame.colour_reach`: near 0 the camera gives none. By default as far as can be."""
    inside: float = 1.0
    """Share of the face's box that lies within the picture, 0 to 1."""
    below: float = 10.0
    """How far the picture goes on below the face's box, in heights of the box; negative where it
    ends above the chin."""


@dataclass(frozen=True, slots=True)
class FaceObservation:
    """One aligned face without pixels of the frame (port type of ``align.observations``)."""

    box: Box
    """Box around the mesh, in pixels of the frame."""
    frame_size: tuple[int, int]
    """Upright width and height of the frame in pixels."""
    landmarks: np.ndarray
    """float32 (5, 2) pixels: right eye, left eye, nose tip, right and left mouth corner."""
    quality: Quality
    usable: bool
    """False where the frame is corrupt or frozen or no face is in the crop: no evidence may use
    it."""
    media_time: float | None
    utc: float | None


@dataclass(frozen=True, slots=True)
class SkinSample:
    """Registered skin colours of one frame (port type of ``align.skin``).

    The same cell is the same spot of skin in every frame of every person: cells lie on a fixed
    grid over the canonical face mesh.
    """

    grid: np.ndarray
    """float32 (32, 32, 3), mean R, G, B of each cell, 0 to 255."""
    valid: np.ndarray
    """bool (32, 32): the cell lies on visible skin in this frame."""
    regions: Mapping[str, np.ndarray]
    """float32 (3,) mean R, G, B of forehead, right_cheek, left_cheek (NaN where not visible)."""
    background: np.ndarray
    """float32 (3,) mean R, G, B beside the face, NaN if out of the picture: the control region."""
    quality: Quality
    usable: bool


@dataclass(frozen=True, slots=True)
class FaceMesh:
    """Where the points of a face are in one frame (port type of ``align.meshes``)."""

    points: np.ndarray
    """float32 (468, 3), pixels of the frame, z in the same scale, negative towards the camera."""
    rotation: np.ndarray
    """float64 (3, 3): axes of the canonical face to axes of the picture."""
    looked: bool
    """The mesh network looked at this frame. Where it is False the mesh is the last look's, moved
    by optical flow as a whole: it tells where the face is and nothing new of its shape."""
    quality: Quality
    usable: bool


@dataclass(frozen=True, slots=True)
class FacePixels:
    """What the mesh network sees of a face in one frame (port type of ``align.pixels``)."""

    image: np.ndarray
    """uint8 RGB (192, 192, 3)."""
    matrix: np.ndarray
    """float32 (2, 3): pixels of the image to pixels of the frame."""
    face: FaceMesh


@dataclass(frozen=True, slots=True)
class FaceSurroundings:
    """A face before its scene, in grey (port type of ``align.surroundings``)."""

    luma: np.ndarray
    """uint8 (264, 264): 4.4 times as wide as the face or a little less, the border of the picture
    repeated outside of it."""
    matrix: np.ndarray
    """float64 (2, 3): pixels of ``luma`` to pixels of the frame, a scale and a shift."""
    scene: np.ndarray
    """uint8 (height, width): the whole picture, small."""
    step: int
    """Pixels of the frame for each of ``scene``."""
    face: FaceMesh
    frame_size: tuple[int, int]
    """Width and height of the frame in pixels."""


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """A face picture for the networks (port type of ``align.crops``, ``contexts``, ``natives``)."""

    image: np.ndarray
    """uint8 RGB (side, side, 3)."""
    matrix: np.ndarray
    """float32 (2, 3): crop pixels to frame pixels."""
    mesh: np.ndarray
    """float32 (468, 3): mesh in crop pixels, z in the same scale, negative towards the camera."""
    scale: float
    """Crop side over face box side."""
    quality: Quality


@dataclass(frozen=True, slots=True)
class FaceViews:
    """A face close by and with its surroundings (port type of ``align.views``)."""

    images: np.ndarray
    """uint8 RGB (4, 160, 160, 3): the tight square, the middle one, the wide one, and four squares
    side by side, of the eyes, the nose and the mouth."""
    scales: tuple[float, ...]
    """Each square's side over the face box's side."""
    quality: Quality


@dataclass(frozen=True, slots=True)
class FacePatches:
    """Pieces of a face at the frame's own resolution (port type of ``patches.patches``)."""

    images: np.ndarray
    """uint8 RGB (n, 96, 96, 3), n at least 1."""
    quality: Quality


@dataclass(frozen=True, slots=True)
class DepthMap:
    """The relief that the depth network sees in a face crop (port type of ``depth_net.depth``)."""

    depth: np.ndarray
    """float32 (32, 32): 1 nearest to the camera, 0 background or a plane."""


@dataclass(frozen=True, slots=True)
class DepthFeatures:
    """What the stages of the depth network see in a face crop (``depth_net.features``).

    Given for every face: one that was not let through to the network has reasons in the place of
    features.
    """

    stages: tuple[np.ndarray, ...]
    """float32 (C, h, w) each, the finest first; empty where there are reasons."""
    depth: np.ndarray
    """float32 (32, 32), its map; of no elements where there are reasons."""
    quality: Quality
    edition: str
    """SHA-256 that tells the network's training from others, whatever its precision."""
    reasons: tuple[str, ...] = ()
    """Codes of :class:`Reason`: why there are no features."""
    places: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.float32))
    """float32 (2, 1024): x and y of the canonical grid's cells in shares of the crop's side, as of
    :meth:`.SkinMapper.shares`; of no elements where there are reasons."""


@dataclass(frozen=True, slots=True)
class PulseTrace:
    """The pulse wave to draw (port type of ``pulse.trace``). Health data: stays inside."""

    times: np.ndarray
    """float64 (n,), seconds of capture time."""
    wave: np.ndarray
    """float32 (n,), unit variance."""
    heart_rate: float | None
    """Beats per minute."""
    snr: float | None
    """dB."""


@dataclass(frozen=True, slots=True)
class Fused:
    """What all cues together say of one track at one time (port type of ``fuse.fused``)."""

    llr: float | None
    """Sum of calibrated, correlation-discounted ratios in nats; None where no cue has a value."""
    evidence: tuple[Evidence, ...]
    """One entry for every cue that the graph has or the policy asks for. Where a cue's value is in
    force, ``llr`` is what the cue adds up to by now (weighted, discounted, capped), ``window`` its
    newest valued window, ``reasons`` why nothing newer came; else ``llr`` is None, with reasons."""
    observation: FaceObservation
    watched: float
    """Seconds since the track's first observation, or since the watching began anew."""
    usable_share: float
    """Share of the last seconds' observations that were usable, 0 to 1."""
    renewed: str = ""
    """Reason code for which the watching began anew and what spoke for LIVE became void; empty:
    it never did."""
    engine: str = ""
    """Name of the bundle that says what the cues are worth together, or empty."""
    engine_sha256: str = ""
    thresholds: tuple[float, float] | None = None
    """Sums in nats at which that bundle measured the policy's target rates: SPOOF at or below the
    first, LIVE at or above the second. None: the policy's own."""
    early_thresholds: tuple[float, float] | None = None
    """Likewise what a verdict takes before the policy's ``min_time``. None: the policy's own."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event for the outside (port type of every ``events`` output): CloudEvents 1.0 content."""

    type: str
    """``padflow.verdict.v1``, ``padflow.source.v1``, ``padflow.track.v1``, ``padflow.scene.v1``."""
    subject: str
    """``track/<n>`` or empty."""
    data: Mapping[str, Any]
    """JSON-ready. The sink adds specversion, id, source and time."""
    utc: float | None = None
    """Unix time in seconds of what the event tells; None lets the sink take the present."""
    private: Mapping[str, Any] = field(default_factory=dict)
    """Biometric or health data: written only where the user switched it on."""
    will: Mapping[str, Any] | None = None
    """What of the data changes if the process that speaks for the subject is lost: the event that
    is then sent in its place. None: nothing is left to be said of the subject."""

    def last_word(self, reason: str) -> "Event | None":
        """See :class:`padflow.graph.wills.Willing`; the reason is told in the event."""
        if self.will is None:
            return None
        data = {**self.data, **self.will}
        if "reasons" in data:
            data["reasons"] = [*data["reasons"], reason] if reason else data["reasons"]
            return Event(self.type, self.subject, data, self.utc, self.private)
        # What is lost is lost now, whenever its last picture was taken.
        return Event(self.type, self.subject, data | {"reason": reason}, None, self.private)
