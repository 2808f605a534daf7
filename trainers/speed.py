"""What each network costs a face, in every precision, beside PyTorch.

Speed does not depend on what was learned, so networks with the random weights of a seed are
measured: exported as any other, quantised on random pictures, and without the features of a depth
network's stages, which only ``motion_depth`` and ``pulse_depth`` take.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..engines.engine import open_network
from ..engines.network import Network, Options, Precision
from ..nodes.crops import PATCH_COUNT
from .export import input_specs, served, stage_specs, to_onnx
from .networks import NETWORKS, CropNetwork, build_network
from .quantisation import to_int8

CALIBRATION_PICTURES = 16
LEAST_SECONDS = 1.0
"""A precision is timed for at least so long, and for at least five faces."""


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """What one face costs, one face at a time."""

    network: str
    how: str
    """``torch eager``, or the precision on OpenVINO."""
    pictures: int
    """Pictures of a face: patches are several."""
    faces_per_s: float
    """On all threads."""
    cpu_ms: float
    """CPU milliseconds a face of all threads together."""
    megabytes: float
    """Of the file; 0 for PyTorch."""


def network_costs(
    names: Sequence[str] = tuple(NETWORKS), threads: int = 2, seconds: float = LEAST_SECONDS
) -> Iterator[NetworkCost]:
    """Measure networks one after the other.

    Args:
        names: of the catalogue.
        threads: CPU threads of each.
        seconds: for each precision, at least.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name in names:
            yield from _costs(name, threads, seconds)
    finally:
        torch.set_num_threads(before)


def _costs(name: str, threads: int, seconds: float) -> Iterator[NetworkCost]:
    torch.manual_seed(0)
    network = build_network(name).eval()
    count = PATCH_COUNT if network.crop == "patches" else 1
    shape = (CALIBRATION_PICTURES, *input_specs(network)[0].shape[1:])
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    face = pictures[:count]
    if network.takes == "image":
        yield NetworkCost(name, "torch eager", count, *_timed(_eager(network, face), seconds), 0.0)
    with tempfile.TemporaryDirectory(prefix="padflow-speed-") as place:
        exported = to_onnx(network, Path(place) / f"{name}.onnx")
        file = served(network, exported)
        files: list[tuple[str, Network, Precision]] = [("f32", file, "f32"), ("bf16", file, "bf16")]
        if "int8" in network.precisions:
            small = to_int8(network, exported.path, Path(place) / f"{name}-int8.onnx", pictures)
            files.append(("int8", small, "int8"))
        without = frozenset(spec.name for spec in stage_specs(network.stage_shapes))
        for how, file, precision in files:
            options = Options(threads, precision, without=without)
            with open_network(file, "openvino", options) as engine:
                spent = _timed(lambda: engine.infer({"image": face}), seconds)
            yield NetworkCost(name, how, count, *spent, file.path.stat().st_size / 1e6)


def _eager(network: CropNetwork, face: np.ndarray) -> Callable[[], object]:
    images = torch.from_numpy(face)

    def run() -> object:
        with torch.inference_mode():
            return network(images)

    return run


def _timed(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Faces a second (of the median time) and CPU milliseconds of one face."""
    run()
    times: list[float] = []
    cpu = time.process_time()
    while sum(times) < seconds or len(times) < 5:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1 / statistics.median(times), 1000 * (time.process_time() - cpu) / len(times)
