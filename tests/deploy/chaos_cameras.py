"""What the chaos run looks at: rendered clips, cameras in processes of their own, files."""

import contextlib
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import av
import numpy as np

from padflow.trainers.attacks.acts import Species
from padflow.trainers.attacks.feed import render_clip
from tests.rtsp_camera import RtspCamera

SIZE = (480, 270)
CLIP_SECONDS = 8.0
SLOW_FPS = 0.2
DAMAGE = 0.5
"""Share of packets of a corrupted camera that have wrong bytes."""
CAMERA_START = 60.0
"""Seconds that a camera's process may take to come up on a busy machine."""


def make_clip(kind: Species, folder: Path, fps: int) -> Path:
    """A short clip of one kind at the door, there all the time."""
    clip = folder / f"{kind}.mp4"
    if not clip.exists():
        render_clip(kind, clip, seed=1, size=SIZE, fps=fps, seconds=CLIP_SECONDS)
    return clip


def read_frames(clip: Path) -> list[np.ndarray]:
    """Every picture of a clip, uint8 RGB (height, width, 3)."""
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def there_and_back(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The frames, then the same backwards: played in a loop it has no jump."""
    return [*frames, *frames[-2:0:-1]]


def write_loop(clip: Path, out: Path, fps: int, seconds: float) -> None:
    """Write a clip again and again into one file of some seconds."""
    loop = there_and_back(read_frames(clip))
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = loop[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "g": str(2 * fps), "bf": "0", "threads": "1"}
        for index in range(round(fps * seconds)):
            picture = av.VideoFrame.from_ndarray(loop[index % len(loop)], "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_damaged(whole: Path, out: Path, dice: random.Random) -> None:
    """A copy of a file with random bytes in three places of its middle."""
    data = bytearray(whole.read_bytes())
    for _ in range(3):
        start = dice.randrange(len(data) // 4, 3 * len(data) // 4)
        data[start : start + 400] = dice.randbytes(400)
    out.write_bytes(data)


def serve(clip: Path, fps: float, port: int, orders: Connection) -> None:
    """Be a camera until told to quit: runs in a process of its own."""
    with RtspCamera(there_and_back(read_frames(clip)), fps, port=port) as camera:
        orders.send(camera.url)
        with contextlib.suppress(EOFError):  # whoever gave the orders is gone
            while (order := orders.recv()) != "quit":
                if order == "heal":
                    camera.fps, camera.damage = fps, 0.0
                    camera.speak()
                elif order == "slow":
                    camera.fps = SLOW_FPS
                elif order == "corrupt":
                    camera.damage = DAMAGE
                else:
                    camera.silence()


@dataclass
class ChaosCamera:
    """An RTSP camera whose process can be killed; it comes back at the same address."""

    clip: Path
    fps: float
    url: str = ""
    _port: int = 0
    _process: BaseProcess | None = None
    _orders: Connection | None = field(default=None)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> None:
        """Come up; returns once it listens."""
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(self.clip, self.fps, self._port, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._orders.poll(CAMERA_START):
            raise TimeoutError(f"expected a camera within {CAMERA_START:g} s, found none")
        self.url = self._orders.recv()
        self._port = int(self.url.rpartition(":")[2].partition("/")[0])

    def tell(self, order: str) -> None:
        """Let it be ``silent``, ``corrupt``, ``slow`` or ``heal``."""
        assert self._orders is not None
        self._orders.send(order)

    def kill(self) -> None:
        """End its process without a word."""
        assert self._process is not None
        assert self._orders is not None
        self._process.kill()
        self._process.join()
        self._process.close()
        self._orders.close()


@contextlib.contextmanager
def rtsp_cameras(clips: Sequence[Path], fps: float) -> Iterator[list[ChaosCamera]]:
    """A camera for every clip."""
    cameras: list[ChaosCamera] = []
    try:
        for clip in clips:
            camera = ChaosCamera(clip, fps)
            camera.start()
            cameras.append(camera)
        yield cameras
    finally:
        for camera in cameras:
            camera.kill()
