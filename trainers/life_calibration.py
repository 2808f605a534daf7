"""Measures how far the mesh of a face that does not move by itself wanders, and fits the life cue.

    python -m padflow.trainers.life_calibration [--sequences 60] [--seed 1]

Two public-domain portraits are moved like prints in a hand (turned, tilted, near and far), made
small, blurred, noisy and coarsely encoded, and the real mesh network lays its mesh on each picture.
Whatever its channels do then is the network's own: their ranges beside the noise from look to look
are what the cue's ``*_wander`` must cover. Blinks found in them are false. Rates of people and
shares of attacks are not fitted: docs/CUES.md tells where they come from. Real footage is only ever
looked at.
"""

import argparse
from dataclasses import dataclass, replace

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..nodes.face_channels import FaceChannels
from ..nodes.life_evidence import (
    MOVING,
    LifeModel,
    channel_noises,
    channel_ranges,
    measure_life,
)
from ..nodes.mesh import CROP_SIDE, MeshNet, Square, square_of_mesh, to_frame
from ..nodes.payloads import FaceMesh, Quality
from ..nodes.pose import PoseSolver, rotation_of
from .canonical import PORTRAITS, portrait

LOOKS = 10.0
"""Looks of the mesh network a second."""
FACES = (70.0, 220.0)
"""Widths of the faces in pixels of the camera."""
QUANTILE = 0.75
"""Of the still faces' ranges that counts as usual."""


@dataclass(frozen=True, slots=True)
class Still:
    """Channels of one sequence in which nothing of the face moves."""

    times: np.ndarray
    """float64 (n,)."""
    channels: np.ndarray
    """float64 (n, 5)."""
    poses: np.ndarray
    """float64 (n, 4), as of :func:`measure_life`."""


class MovedPictures:
    """Draws sequences of moved portraits. Close the network afterwards."""

    def __init__(self, net: MeshNet) -> None:
        self._net, self._channels, self._pose = net, FaceChannels(), PoseSolver()
        self._portraits = []
        for name, (x, y, side) in PORTRAITS.items():
            image = portrait(name)
            matrix = Square(x, y, 1.5 * side, 0.0).matrix()
            mesh, _ = net.infer(_cut(image, matrix))
            self._portraits.append((image, to_frame(mesh, matrix)))

    def draw(self, rng: np.random.Generator, seconds: float) -> Still:
        """One sequence."""
        image, mesh = self._portraits[int(rng.integers(len(self._portraits)))]
        width = float(rng.uniform(*FACES))
        scale = width / float(np.ptp(mesh[:, 0]))
        camera = Camera.drawn(rng)
        channels, poses = [], []
        for homography in held(rng, int(seconds * LOOKS) + 1, mesh, scale):
            picture = camera.take(image, homography, round(2.6 * width), rng)
            moved = cv2.perspectiveTransform(mesh[None, :, :2].astype(np.float64), homography)[0]
            there = np.column_stack([moved, mesh[:, 2] * scale]).astype(np.float32)
            square = _jittered(square_of_mesh(there), rng)
            found = to_frame(self._net.infer(_cut(picture, square.matrix()))[0], square.matrix())
            pose = self._pose.solve(found)
            face = FaceMesh(found, pose.rotation, True, _UNKNOWN, True)
            channels.append(self._channels.read(face))
            poses.append((pose.yaw, pose.pitch, pose.roll, 0.0))
        return Still(np.arange(len(poses)) / LOOKS, np.array(channels), np.array(poses))


@dataclass(frozen=True, slots=True)
class Camera:
    """What one camera does to its pictures."""

    blur: float
    """Standard deviation in pixels."""
    noise: float
    """Standard deviation in levels."""
    quality: int
    """Of the JPEG pictures that stand for a video encoder's."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Camera":
        """One camera of many."""
        quality = int(rng.uniform(25, 90))
        return cls(float(rng.uniform(0.3, 1.5)), float(rng.lognormal(np.log(3.0), 0.7)), quality)

    def take(
        self, image: np.ndarray, homography: np.ndarray, side: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The picture, uint8 RGB (side, side, 3), of an image that a homography moves."""
        seen = cv2.warpPerspective(
            image, homography, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        seen = cv2.GaussianBlur(seen, (0, 0), self.blur).astype(np.float64)
        seen = np.clip(seen + self.noise * rng.normal(size=seen.shape), 0, 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", seen, (cv2.IMWRITE_JPEG_QUALITY, self.quality))[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def held(rng: np.random.Generator, count: int, mesh: np.ndarray, scale: float) -> list[np.ndarray]:
    """Homographies (3, 3) of a print that a hand moves before the camera.

    Args:
        rng: draws how.
        count: of frames.
        mesh: float32 (468, 3), the face in pixels of the print.
        scale: pixels of the camera in one of the print.
    """
    times = np.arange(count) / LOOKS
    sizes = np.array([8.0, 6.0, 6.0, 0.1, 0.1, 0.1]) * rng.lognormal(-0.5, 0.7)
    ways = np.zeros((count, 6))
    for _ in range(3):
        speed, phase = rng.uniform(0.05, 0.8, 6), rng.uniform(0, 2 * np.pi, 6)
        ways += rng.normal(size=6) * np.sin(2 * np.pi * np.outer(times, speed) + phase)
    ways = ways * sizes / 1.5
    tilt = rng.normal(0, (10.0, 8.0, 5.0))
    middle = mesh[:, :2].mean(0)
    width = float(np.ptp(mesh[:, 0]))
    far = 6.0 * width
    found = []
    for yaw, pitch, roll, x, y, nearer in ways:
        rotation = rotation_of(tilt[0] + yaw, tilt[1] + pitch, tilt[2] + roll)
        there = (x * width, y * width, far * (1 - 0.5 * np.tanh(nearer)))
        plane = np.column_stack([rotation[:, 0], rotation[:, 1], there])
        camera = np.array([[far, 0, 1.3 * width], [0, far, 1.3 * width], [0, 0, 1.0]])
        small = np.diag((scale, scale, 1.0))
        onto = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1.0]])
        found.append(small @ camera @ plane @ onto)
    return found


def _cut(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The mesh network's crop of a picture."""
    side = (CROP_SIDE, CROP_SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(image, matrix, side, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(cut)


def _jittered(square: Square, rng: np.random.Generator) -> Square:
    """The crop follows the face of the frame before, so it is off a little."""
    dx, dy, growth = rng.normal(0, 0.01, 3)
    return square._replace(
        x=square.x + dx * square.side,
        y=square.y + dy * square.side,
        side=square.side * (1 + growth),
    )


_UNKNOWN = Quality(*[0.0] * 10)


def draw_sequences(net: MeshNet, count: int, seed: int, quiet: bool = True) -> list[Still]:
    """Sequences of 2 to 8 s."""
    rng = np.random.default_rng(seed)
    pictures = MovedPictures(net)
    steps = track(range(count), "looking", disable=quiet)
    return [pictures.draw(rng, float(rng.uniform(2.0, 8.0))) for _ in steps]


def fit(sequences: list[Still], model: LifeModel | None = None) -> LifeModel:
    """The model with the wander of still faces, and how widely it differs."""
    start = model or LifeModel()
    ranges = np.array([channel_ranges(s.channels[:, MOVING], s.poses) for s in sequences])
    noises = np.array([channel_noises(s.channels)[list(MOVING)] for s in sequences])
    beside = np.maximum(ranges**2 - (start.noise_range * noises) ** 2, 0.0)
    mouth, smile, brow = np.sqrt(np.quantile(beside, QUANTILE, axis=0)).tolist()
    fitted = replace(start, mouth_wander=mouth, smile_wander=smile, brow_wander=brow)
    found = [measure_life(s.times, s.channels, s.poses, fitted).movement for s in sequences]
    # Only what goes beyond a still face's usual range can be taken for movement.
    beyond = np.array([m for m in found if m > 0])
    return replace(fitted, wander_spread=float(np.sqrt((beyond**2).mean())))


def report(sequences: list[Still], model: LifeModel, console: Console) -> None:
    """Print what the cue makes of still faces."""
    found = [measure_life(s.times, s.channels, s.poses, model) for s in sequences]
    telling = [f for f in found if model.tells(f)]
    ratios = np.array([model.ratio(f) for f in telling])
    table = Table("still faces", "tell", "movement 50/90/99 %", "false blinks a minute",
                  "llr 5 %", "50 %", "95 %", "above 0")  # fmt: skip
    movement = " ".join(
        f"{q:+.2f}" for q in np.quantile([f.movement for f in found], (0.5, 0.9, 0.99))
    )
    rate = 60 * sum(f.blinks for f in found) / sum(f.watched for f in found)
    quantiles = [f"{q:+.2f}" for q in np.quantile(ratios, (0.05, 0.5, 0.95))]
    share = f"{len(telling) / len(found):.0%}"
    table.add_row(str(len(found)), share, movement, f"{rate:.2f}", *quantiles,
                  f"{(ratios > 0).mean():.1%}")  # fmt: skip
    console.print(table)


def main() -> None:
    """Command line: measure, fit, print the constants, report on sequences drawn anew."""
    parser = argparse.ArgumentParser(description="Measure how a still face's mesh wanders.")
    parser.add_argument("--sequences", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console(width=120)
    with MeshNet() as net:
        fitted = fit(draw_sequences(net, options.sequences, options.seed, quiet=False))
        for name in ("mouth_wander", "smile_wander", "brow_wander", "wander_spread"):
            console.print(
                f"{name}: {getattr(fitted, name):.4f} (shipped {getattr(LifeModel, name)})"
            )
        fresh = draw_sequences(net, options.sequences // 2, options.seed + 1, quiet=False)
    console.print("On sequences drawn anew, with the constants that are shipped:")
    report(fresh, LifeModel(), console)


if __name__ == "__main__":
    main()
