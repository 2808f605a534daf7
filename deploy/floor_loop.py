"""The hand-written loop that the graph is measured against.

No framework, no tracking, no quality, no pulse analysis: decode, BlazeFace at 5 Hz, the face mesh
and three skin means on every frame, as tightly as the same libraries allow. What the graph costs
more than this is what its guarantees cost.
"""

import time
from pathlib import Path
from typing import NamedTuple, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from ..engines.openvino_library import ov
from ..engines.store import model_folder

DETECTIONS_PER_SECOND = 5.0
SKIN_POINTS = {"forehead": 151, "right_cheek": 50, "left_cheek": 280}
SKIN_PATCH = 24


class FloorTimes(NamedTuple):
    """CPU seconds of one thread, in total over the clip."""

    frames: int
    decode: float
    detect: float
    mesh: float
    skin: float

    @property
    def total_ms(self) -> float:
        """CPU milliseconds per frame."""
        return 1e3 * (self.decode + self.detect + self.mesh + self.skin) / max(1, self.frames)


def run_floor_loop(clip: Path) -> FloorTimes:
    """Run the loop over a clip and return what each part cost in CPU seconds."""
    detector = _compile("face_detection_full_range_sparse.tflite")
    mesh_net = _compile("face_landmark.tflite")
    reformatter = VideoReformatter()
    spent = dict.fromkeys(("decode", "detect", "mesh", "skin"), 0.0)
    box: NDArray[np.float64] | None = None
    next_detection, frames = 0.0, 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        decoded = container.decode(stream)
        while True:
            clock = time.thread_time()
            picture = next(decoded, None)
            clock = _spend(spent, "decode", clock)
            if picture is None:
                break
            frames += 1
            if picture.time is not None and picture.time >= next_detection:
                next_detection = picture.time + 1.0 / DETECTIONS_PER_SECOND
                found = _detect(detector, reformatter, picture)
                box = found if box is None else box
            clock = _spend(spent, "detect", clock)
            if box is None:
                continue
            points, y, u, v = _mesh(mesh_net, picture, box)
            box = np.concatenate([points.min(0), points.max(0)])
            clock = _spend(spent, "mesh", clock)
            _skin_means(points, y, u, v)
            _spend(spent, "skin", clock)
    return FloorTimes(frames, **spent)


def _spend(spent: dict[str, float], name: str, since: float) -> float:
    now = time.thread_time()
    spent[name] += now - since
    return now


def _compile(file_name: str) -> ov.InferRequest:
    core = ov.Core()
    model = core.read_model(model_folder() / file_name)
    config = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", config).create_infer_request()


def _detect(
    request: ov.InferRequest, reformatter: VideoReformatter, picture: av.VideoFrame
) -> NDArray[np.float64] | None:
    side = 192
    scale = side / max(picture.width, picture.height)
    width, height = round(picture.width * scale), round(picture.height * scale)
    small = reformatter.reformat(
        picture, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
    ).to_ndarray()
    image = np.zeros((1, side, side, 3), np.float32)
    image[0, :height, :width] = small
    image[0] = image[0] / 127.5 - 1.0
    request.infer([image], share_inputs=True, share_outputs=True)
    outputs = [np.asarray(request.get_output_tensor(i).data) for i in range(2)]
    boxes, scores = sorted(outputs, key=lambda a: -a.shape[-1])
    best = int(scores.argmax())
    if scores.reshape(-1)[best] < 0.0:
        return None
    cells = 48
    cx, cy, w, h = boxes.reshape(-1, boxes.shape[-1])[best, :4] / side
    cx += (best % cells + 0.5) / cells
    cy += (best // cells + 0.5) / cells
    corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], np.float64)
    return corners * side / scale


def _mesh(
    request: ov.InferRequest, picture: av.VideoFrame, box: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    side = 192
    extent = 1.5 * max(box[2] - box[0], box[3] - box[1])
    scale = extent / side
    x0, y0 = (box[0] + box[2] - extent) / 2, (box[1] + box[3] - extent) / 2
    y, u, v = (_plane(p) for p in picture.planes)
    inverse = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = np.empty((side * 3 // 2, side), np.uint8)
    full = np.array([[scale, 0, x0], [0, scale, y0]])
    half = np.array([[scale, 0, x0 / 2], [0, scale, y0 / 2]])
    crop[:side] = cv2.warpAffine(y, full, (side, side), flags=inverse)
    chroma = (side // 2, side // 2)
    crop[side : side * 5 // 4] = cv2.warpAffine(u, half, chroma, flags=inverse).reshape(-1, side)
    crop[side * 5 // 4 :] = cv2.warpAffine(v, half, chroma, flags=inverse).reshape(-1, side)
    rgb = cv2.cvtColor(crop, cv2.COLOR_YUV2RGB_I420)
    image = np.multiply(rgb, np.float32(1 / 255), dtype=np.float32)[None]
    request.infer([image], share_inputs=True, share_outputs=True)
    outputs = [np.asarray(request.get_output_tensor(i).data) for i in range(2)]
    landmarks = max(outputs, key=lambda a: a.size).reshape(468, 3)
    return landmarks[:, :2] * scale + np.array([x0, y0]), y, u, v


def _skin_means(
    points: NDArray[np.float32],
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
) -> list[tuple[float, float, float]]:
    half = SKIN_PATCH // 2
    means = []
    for index in SKIN_POINTS.values():
        px, py = (max(half, int(value)) for value in points[index])
        luma = y[py - half : py + half, px - half : px + half]
        cut = slice((py - half) // 2, (py + half) // 2), slice((px - half) // 2, (px + half) // 2)
        means.append((cv2.mean(luma)[0], cv2.mean(u[cut])[0], cv2.mean(v[cut])[0]))
    return means


def _plane(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    buffer = cast(memoryview, plane)  # it is a buffer, which its type stub forgets to say
    rows = np.frombuffer(buffer, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
