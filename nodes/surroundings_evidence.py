"""Does what is around a face stay where it is, or does it go along? Measurement and ratio.

A head moves before a room that stays. A print or a display moves as a whole: its edges, the hand
that holds it and the room that is pictured on it go along with the face (Anjos and Marcel,
*Counter-measures to photo attacks in face recognition*, IJCB 2011, compare how much face and
background move; Anjos, Chakka and Marcel, *Motion-based counter-measures to photo attacks in face
recognition*, IET Biometrics 3, 2014, in which direction). Here two pictures of one place are
compared under both beliefs. The face's own motion since the first is measured by points that are
followed on it (a similarity, by RANSAC). Then for every cell of the surroundings the later picture
is laid over the first twice, as it is and moved back by the face's motion: of what stays the former
difference vanishes, of what goes along the latter. Edges tell as well as corners, and a plain wall
tells nothing.

Hair, hats and shoulders go along with a living head, so that only cells count that lie further from
it: more than 1.3 face widths to the side or 0.8 above, and none below the middle of the face, since
a camera that looks down sees the shoulders beside the chin.
"""

from dataclasses import dataclass, field
from math import exp, lgamma, log
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from annotated_types import Gt, Interval

from .payloads import FaceSurroundings
from .point_flow import Following, follow, texture
from .surroundings_picture import SIDE

CELL = 8
"""Side of a cell in pixels of the picture."""
CELLS = SIDE // CELL
FEWEST_POINTS = 8
"""On the face, for its motion."""
FEWEST_FRAMES = 3
"""In which a cell must have been compared."""
FEWEST_CELLS = 6
"""That must tell something."""
LEAST_MOTION = 1.0
"""Pixels by which what goes along would have moved in a cell, for a frame to count there."""
BESIDE, ABOVE = 1.3, 0.8
"""In face widths: cells nearer to the face's middle, and nearer above its box, may be hair."""

_FEWEST_SCENE_POINTS = 5
"""On the rest of the scene, for the camera's motion."""
_NEAR_SCENE = 2.0
"""Face widths about the face within which the scene's points are not taken, and below it none."""
_MOST_POINTS = 40
_TEXTURE = 1.0
"""Root of the smaller eigenvalue of the structure tensor in levels per pixel: of fainter points the
motion is noise."""
_FACE_PART = 66
"""Half the side of the middle part of the picture, in which the face's points are followed."""
_MOUTH = 0.2
"""Points lie above this share of the face's height below its middle: lips and jaw move."""
_RIM = 6
"""Cells and points nearer to the frame's border than so many pixels are not used."""
_FOLLOWING = Following(window=(11, 11), levels=2, rounds=15, most_return=0.5)
_AGREE = 1.2
"""Points within this of the common motion agree, in pixels: a head that turns does not move by
a similarity alone."""
_LEAST_AGREEING = 0.5
"""Share of the points that were followed."""
_SMOOTH, _AROUND = 1.0, 21
"""Of the picture's detail: sigma of the smallest thing in it, and side of the square whose mean is
taken off, in pixels: neither noise nor a lamp that is switched on moves anything."""
_LEAST_EXPECTED = 4.0
"""Squared levels, the mean of a cell, by which moving along would change it."""
_LEAST_CHANGE = 0.3
"""Of that, the part which one of the beliefs must leave: else neither is tested."""
_CLEAR = 0.4
"""One belief must leave less than this share of the other's difference."""
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_STILL = np.eye(2, 3)
_CELL_PLACES = np.arange(CELLS) * CELL + (CELL - 1) / 2
_CELL_MIDDLES = np.stack(np.meshgrid(_CELL_PLACES, _CELL_PLACES), axis=-1)
"""float64 (33, 33, 2): pixels of the picture."""


class Reference(NamedTuple):
    """The picture that later ones are compared with. Picklable, 0.1 MB."""

    luma: np.ndarray
    """uint8 (264, 264)."""
    matrix: np.ndarray
    """float64 (2, 3): its pixels to those of the frame."""
    points: np.ndarray
    """float32 (n, 2): places on the face, pixels."""
    scene: np.ndarray
    """uint8."""
    scene_points: np.ndarray
    """float32 (m, 2): places off the face, pixels of the scene."""
    counted: np.ndarray
    """bool (33, 33): cells far enough from the face and within the frame."""
    middle: np.ndarray
    """float64 (2,): of the face, pixels."""
    top: float
    """Of the face, pixels."""
    width: float
    """Of the face in pixels."""


class Motion(NamedTuple):
    """What moved since the reference, in its pixels."""

    face: np.ndarray
    """float64 (2, 3): where a thing is now that goes along with the face."""
    camera: np.ndarray
    """float64 (2, 3): where a thing is now that stayed in the scene."""
    scene: np.ndarray
    """float64 (2,): how far the scene moved, in its own pixels."""
    camera_known: bool
    """Else it is taken to stand still: the scene has nothing that could be followed."""


def _nothing() -> np.ndarray:
    return np.zeros((CELLS, CELLS), np.float32)


@dataclass(slots=True)
class Differences:
    """Sums over the frames of a window, by cell: float32 (33, 33). Picklable."""

    staying: np.ndarray = field(default_factory=_nothing)
    """Squared differences if nothing moved but the camera."""
    going: np.ndarray = field(default_factory=_nothing)
    """Squared differences if all moved like the face."""
    expected: np.ndarray = field(default_factory=_nothing)
    """Squared change that moving like the face makes there."""
    frames: np.ndarray = field(default_factory=_nothing)
    """In which the cell was compared."""
    moved: float = 0.0
    """Sum of squared ways of the face before the scene, in face widths."""
    measured: int = 0
    """Frames in which the face's motion was found."""
    camera_known: bool = False
    """The scene's was as well: there is something in the reference that can be followed."""
    scene: np.ndarray = field(default_factory=lambda: np.zeros(2))
    """How far the scene had moved last, float64 (2,) in its pixels: a camera that pans goes on."""


class SurroundingsMeasurement(NamedTuple):
    """What one window shows."""

    going: int
    """Cells that went along with the face."""
    staying: int
    """Cells that stayed."""
    unclear: int
    """Cells with texture that did neither."""
    compared: int
    """Cells that were compared, plain ones too."""
    moved: float
    """Root mean square of the face's way before the scene, in face widths."""
    frames: int
    camera_known: bool
    """The rest of the scene was seen to stand still or move by itself."""

    @property
    def whole_picture_moves(self) -> bool:
        """Nearly all that tells goes along, and no scene beyond it: a camera may move as well."""
        enough = max(FEWEST_CELLS, self.going / 2)
        return self.going > 0 and not self.camera_known and self.staying < enough


@dataclass(frozen=True)
class SurroundingsModel:
    """Constants of the ratio. The shares are judgements, not measurements: docs/CUES.md."""

    attacks_that_carry: Annotated[float, Interval(gt=0, lt=1)] = 0.45
    """Share of attacks before whose face something around it goes along: prints and displays that
    are held, and reach further than hair would."""
    living_that_carry: Annotated[float, Interval(gt=0, lt=1)] = 0.03
    """Share of living people whose surroundings go along: an umbrella, a child on the shoulders."""
    alike: Annotated[float, Gt(0)] = 4.0
    """Neighbouring cells that tell the same, and count as one."""
    room: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.1, 5.0)
    """Parameters of the beta distribution of the share of cells that go along before a room."""
    medium: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (1.5, 0.7)
    """The same where a medium is held: of a small one the room beyond stays."""

    def ratio(self, found: SurroundingsMeasurement) -> float:
        """Log-likelihood ratio in nats of a living person against an attack."""
        odds = exp(min(max(self.medium_logit(found.going, found.staying), -50.0), 50.0))
        alive = (1 - self.living_that_carry) + self.living_that_carry * odds
        attack = (1 - self.attacks_that_carry) + self.attacks_that_carry * odds
        return log(alive / attack)

    def medium_logit(self, going: int, staying: int) -> float:
        """Log of the cells' probability before a held medium over that before a room."""
        counts = going / self.alike, staying / self.alike
        return _beta_binomial(*counts, *self.medium) - _beta_binomial(*counts, *self.room)


def _beta_binomial(going: float, staying: float, one: float, other: float) -> float:
    """Log-probability of counts, without what does not depend on the parameters."""
    return _log_beta(going + one, staying + other) - _log_beta(one, other)


def _log_beta(one: float, other: float) -> float:
    return lgamma(one) + lgamma(other) - lgamma(one + other)


def reference_of(seen: FaceSurroundings) -> Reference:
    """A picture to compare later ones with."""
    points = seen.face.points[:, :2]
    low, high = points.min(0), points.max(0)
    middle, height = (low + high) / 2, float(high[1] - low[1])
    width = float(seen.face.quality.size)
    scale = float(seen.matrix[0, 0])
    at, top = _to_picture(np.array([middle, low]), seen.matrix)
    far = _far_from_face(_CELL_MIDDLES, at, float(top[1]), width / scale)
    return Reference(
        luma=seen.luma,
        matrix=seen.matrix,
        points=_face_points(seen, float(middle[1]) + _MOUTH * height),
        scene=seen.scene,
        scene_points=_scene_points(seen, middle, width),
        counted=far & _within_frame(seen),
        middle=at,
        top=float(top[1]),
        width=width / scale,
    )


def _far_from_face(points: np.ndarray, middle: np.ndarray, top: float, width: float) -> np.ndarray:
    """Which of points (..., 2) lie where neither hair nor shoulders are, bool (...)."""
    beside = np.abs(points[..., 0] - middle[0]) > BESIDE * width
    above = points[..., 1] < top - ABOVE * width
    return np.asarray((beside | above) & (points[..., 1] <= middle[1]))


def _within_frame(seen: FaceSurroundings) -> np.ndarray:
    """Cells whose pixels the frame shows, bool (33, 33)."""
    rim = _RIM + CELL / 2
    places = _CELL_MIDDLES * seen.matrix[0, 0] + seen.matrix[:, 2]
    margin = rim * seen.matrix[0, 0]
    last = np.array(seen.frame_size) - 1 - margin
    return np.asarray(((places > margin) & (places < last)).all(-1))


def _face_points(seen: FaceSurroundings, lowest: float) -> np.ndarray:
    """Textured places within the mesh's outline and above a row of the frame."""
    hull = cv2.convexHull(_to_picture(seen.face.points[:, :2], seen.matrix).astype(np.float32))
    mask = np.zeros(seen.luma.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 255)
    within = np.asarray(cv2.erode(mask, np.ones((5, 5), np.uint8)))
    within[max(0, round((lowest - seen.matrix[1, 2]) / seen.matrix[1, 1])) :] = 0
    return _textured(seen.luma, within, apart=4)


def _scene_points(seen: FaceSurroundings, middle: np.ndarray, width: float) -> np.ndarray:
    """Textured places of the scene, neither near the face nor below it."""
    mask = np.zeros(seen.scene.shape, np.uint8)
    mask[3:-3, 3:-3] = 255
    left, top = np.maximum((middle - _NEAR_SCENE * width) / seen.step, 0).astype(int)
    right = max(0, int((middle[0] + _NEAR_SCENE * width) / seen.step) + 1)
    mask[top:, left:right] = 0
    return _textured(seen.scene, mask, apart=6)


def _textured(luma: np.ndarray, mask: np.ndarray, apart: float) -> np.ndarray:
    found = cv2.goodFeaturesToTrack(luma, _MOST_POINTS, 0.001, apart, mask=mask, blockSize=5)
    if found is None:
        return np.zeros((0, 2), np.float32)
    points = found[:, 0]
    columns, rows = points.astype(np.int64).T
    return np.asarray(points[texture(luma, 9)[rows, columns] > _TEXTURE], np.float32)


def measure_motion(
    reference: Reference, seen: FaceSurroundings, scene: np.ndarray | None = None
) -> Motion | None:
    """How face and camera moved since the reference; None where either was lost.

    Args:
        reference: the first picture.
        seen: a later one.
        scene: (2,) how far the scene had moved shortly before, in its pixels; None: not at all.
    """
    between = _between(reference.matrix, seen.matrix)
    ends, found = _face_flow(reference, seen, between)
    if np.count_nonzero(found) < FEWEST_POINTS:
        return None
    ends = (ends - between[:, 2]) / between[0, 0]  # from pixels of the later picture
    face = _similarity(reference.points[found], ends[found])
    if face is None:
        return None
    if len(reference.scene_points) < _FEWEST_SCENE_POINTS:
        return Motion(face, _STILL, np.zeros(2), False)
    moved = _scene_motion(reference, seen, np.zeros(2) if scene is None else scene)
    if moved is None:
        return None
    middle = np.array(reference.scene.shape[::-1]) / 2
    shift = moved[:, :2] @ middle + moved[:, 2] - middle
    return Motion(face, _in_picture(moved, reference, seen.step), shift, True)


def _similarity(starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """The similarity, float64 (2, 3), that most points agree on; None where they do not."""
    found, agree = cv2.estimateAffinePartial2D(
        starts, ends, method=cv2.RANSAC, ransacReprojThreshold=_AGREE
    )
    if found is None or np.mean(agree) < _LEAST_AGREEING:
        return None
    return np.asarray(found)


def _face_flow(
    reference: Reference, seen: FaceSurroundings, between: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the face's points are in the later picture, float32 (n, 2), and which were found.

    Both pictures have the face in their middles, so that little is left to be followed.
    """
    if len(reference.points) == 0:
        return reference.points, np.zeros(0, bool)
    start = SIDE // 2 - _FACE_PART
    part = slice(start, SIDE - start)
    centre = (SIDE - 1) / 2
    guess = (reference.points - centre) * between[0, 0] + centre
    ends, found = follow(
        _evenly_lit(reference.luma[part, part]),
        _evenly_lit(seen.luma[part, part]),
        reference.points - start,
        guess.astype(np.float32) - start,
        _FOLLOWING,
    )
    return ends + start, found


def _scene_motion(
    reference: Reference, seen: FaceSurroundings, before: np.ndarray
) -> np.ndarray | None:
    """The scene's similarity (2, 3) in its pixels; None where too little of it was followed."""
    if seen.scene.shape != reference.scene.shape:
        return None
    points = reference.scene_points
    guess = points + before.astype(np.float32)
    lit = _evenly_lit(reference.scene), _evenly_lit(seen.scene)
    ends, found = follow(*lit, points, guess, _FOLLOWING)
    if np.count_nonzero(found) < _FEWEST_SCENE_POINTS:
        return None
    return _similarity(points[found], ends[found])


def _in_picture(moved: np.ndarray, reference: Reference, step: int) -> np.ndarray:
    """A similarity (2, 3) of the scene's pixels as one of the reference's."""
    scale = reference.matrix[0, 0] / step
    shift = (reference.matrix[:, 2] - (step - 1) / 2) / step
    return np.column_stack((moved[:, :2], (moved[:, :2] @ shift + moved[:, 2] - shift) / scale))


def compare(
    reference: Reference, seen: FaceSurroundings, motion: Motion, sums: Differences
) -> None:
    """Add a later picture's differences under both beliefs to a window's sums."""
    way = _ways(motion)
    sums.measured += 1
    sums.camera_known = motion.camera_known
    sums.scene = motion.scene
    sums.moved += float(way[CELLS // 2, CELLS // 2] / reference.width) ** 2
    # Where in the reference a thing was that is now here and goes along, the camera taken out.
    origin = _after(cv2.invertAffineTransform(motion.face), motion.camera)
    far = reference.counted & (way >= LEAST_MOTION) & _uncovered(reference, origin)
    if not far.any():
        return
    between = _between(reference.matrix, seen.matrix)
    before, after = _detail(reference.luma), _detail(seen.luma)
    stayed, gone = _after(between, motion.camera), _after(between, motion.face)
    staying, going, expected = (
        _by_cell(_moved(picture, matrix) - before)
        for picture, matrix in ((after, stayed), (after, gone), (before, origin))
    )
    good = far & np.isfinite(staying) & np.isfinite(going) & np.isfinite(expected)
    sums.staying[good] += staying[good]
    sums.going[good] += going[good]
    sums.expected[good] += expected[good]
    sums.frames += good


def _uncovered(reference: Reference, origin: np.ndarray) -> np.ndarray:
    """Cells that the face has not come near to meanwhile, bool (33, 33).

    Somebody who walks in covers a wall, and another wall stands where he goes along from.
    """
    places = _applied(origin, _CELL_MIDDLES)
    return _far_from_face(places, reference.middle, reference.top, reference.width)


def measured(sums: Differences) -> SurroundingsMeasurement | None:
    """What a window's sums show; None where the face was followed in too few frames."""
    if sums.measured < FEWEST_FRAMES:
        return None
    compared = sums.frames >= FEWEST_FRAMES
    frames = np.maximum(sums.frames, 1)
    larger = np.maximum(sums.staying, sums.going)
    textured = compared & (sums.expected / frames >= _LEAST_EXPECTED)
    tested = textured & (larger >= _LEAST_CHANGE * sums.expected)
    going = tested & (sums.going < _CLEAR * sums.staying)
    staying = tested & (sums.staying < _CLEAR * sums.going)
    return SurroundingsMeasurement(
        going=int(going.sum()),
        staying=int(staying.sum()),
        unclear=int((textured & ~going & ~staying).sum()),
        compared=int(compared.sum()),
        moved=float(np.sqrt(sums.moved / sums.measured)),
        frames=sums.measured,
        camera_known=sums.camera_known,
    )


def _ways(motion: Motion) -> np.ndarray:
    """How far what goes along moved before the scene at every cell, pixels (33, 33)."""
    shift = _applied(motion.face - motion.camera, _CELL_MIDDLES)
    return np.asarray(np.hypot(shift[..., 0], shift[..., 1]))


def _detail(luma: np.ndarray) -> np.ndarray:
    """The fine part of a picture, float32."""
    levels = luma.astype(np.float32)
    return np.asarray(
        cv2.GaussianBlur(levels, (0, 0), _SMOOTH) - cv2.blur(levels, (_AROUND, _AROUND))
    )


def _evenly_lit(luma: np.ndarray) -> np.ndarray:
    """The fine part of a picture about a middle grey, uint8."""
    return np.asarray(np.clip(_detail(luma) + 128.0, 0, 255), np.uint8)


def _by_cell(difference: np.ndarray) -> np.ndarray:
    """Mean square of each cell (33, 33); NaN where a pixel of it was outside."""
    return np.asarray(cv2.resize(difference**2, (CELLS, CELLS), interpolation=cv2.INTER_AREA))


def _moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(
        cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=_WARP, borderValue=float("nan"))
    )


def _between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The map (2, 3) from pixels of one picture to those of another, through the frame."""
    scale = one[0, 0] / other[0, 0]
    shift = (one[:, 2] - other[:, 2]) / other[0, 0]
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map (2, 3) that does one map and then another."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack((linear, second[:, :2] @ first[:, 2] + second[:, 2]))


def _applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) after a map (2, 3)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _to_picture(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the frame in pixels of the picture."""
    return np.asarray((points - matrix[:, 2]) / matrix[0, 0])
