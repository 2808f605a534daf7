"""EfficientNet-Lite2 as ONNX: against PyTorch layer by layer, and of the real weights."""

from collections import OrderedDict
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from padflow.engines import load_engine
from padflow.engines.engine import open_network
from padflow.engines.natural_features import (
    FACE_AXES,
    FEATURES,
    SIDE,
    face_region,
    natural_features_onnx,
)
from padflow.engines.network import Network, Options
from padflow.engines.store import file_sha256
from padflow.trainers.canonical import portrait

STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120), (5, 5, 2, 6, 208), (1, 3, 1, 6, 352),
)  # fmt: skip
TAKEN = (6, 10, 14, 20)


def random_weights() -> "OrderedDict[str, Tensor]":
    torch.manual_seed(1)
    state: OrderedDict[str, Tensor] = OrderedDict()

    def layer(conv: str, norm: str, *shape: int) -> None:
        state[f"{conv}.weight"] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
        state[f"{norm}.weight"] = torch.rand(shape[0]) + 0.5
        state[f"{norm}.bias"] = torch.randn(shape[0]) * 0.1
        state[f"{norm}.running_mean"] = torch.randn(shape[0]) * 0.1
        state[f"{norm}.running_var"] = torch.rand(shape[0]) + 0.5

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    given, number = 32, 0
    for blocks, kernel, _, expansion, channels in STAGES:
        for _ in range(blocks):
            name, inside = f"_blocks.{number}.", given * expansion
            if expansion > 1:
                layer(f"{name}_expand_conv", f"{name}_bn0", inside, given, 1, 1)
            layer(f"{name}_depthwise_conv", f"{name}_bn1", inside, 1, kernel, kernel)
            layer(f"{name}_project_conv", f"{name}_bn2", channels, inside, 1, 1)
            given, number = channels, number + 1
    return state


def expected_features(state: "OrderedDict[str, Tensor]", image: np.ndarray) -> Tensor:
    """The same network in PyTorch, with TensorFlow's padding."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = state[f"{conv}.weight"]
        total = [max((-(-n // stride) - 1) * stride + kernel.shape[2] - n, 0) for n in x.shape[2:]]
        pads = [side for n in reversed(total) for side in (n // 2, n - n // 2)]
        x = functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        gain, shift = state[f"{norm}.weight"], state[f"{norm}.bias"]
        return functional.batch_norm(x, mean, variance, gain, shift, eps=1e-3)

    x = (torch.from_numpy(image).permute(0, 3, 1, 2).float() - 127) / 128
    x = functional.relu6(layer(x, "_conv_stem", "_bn0", 2))
    found: list[Tensor] = []
    of_face: list[Tensor] = []
    number = 0
    for blocks, _, stage_stride, _, _ in STAGES:
        for repeat in range(blocks):
            name, before, stride = f"_blocks.{number}.", x, stage_stride if repeat == 0 else 1
            if f"{name}_expand_conv.weight" in state:
                x = functional.relu6(layer(x, f"{name}_expand_conv", f"{name}_bn0"))
            x = layer(x, f"{name}_depthwise_conv", f"{name}_bn1", stride, x.shape[1])
            x = layer(functional.relu6(x), f"{name}_project_conv", f"{name}_bn2")
            if stride == 1 and x.shape == before.shape:
                x = x + before
            if number in TAKEN:
                deviation = x.std(dim=(2, 3), correction=0)
                found += [x.mean(dim=(2, 3)), deviation, x.amax(dim=(2, 3))]
                row, column = x.shape[2] // 2, x.shape[3] // 2
                halves = (x[:, :, :row], x[:, :, row:], x[..., :column], x[..., column:])
                found += [half.mean(dim=(2, 3)) for half in halves]
                of_face += of_the_face(x)
            number += 1
    return torch.cat([*found, *of_face], dim=1)


def of_the_face(x: Tensor) -> list[Tensor]:
    """Mean, deviation, differences of halves and of the mirror image, and steps in the ellipse."""
    face = torch.from_numpy(face_region(x.shape[2]))

    def mean(values: Tensor, weights: Tensor) -> Tensor:
        return (values * weights).sum(dim=(2, 3)) / weights.sum()

    middle = mean(x, face)
    deviation = mean((x - middle[..., None, None]) ** 2, face).sqrt()
    halves = []
    for turned, weights in ((x, face), (x.transpose(2, 3), face.T)):
        size = x.shape[3] // 2
        first, last = weights.clone(), weights.clone()
        first[:, size + x.shape[3] % 2 :] = 0
        last[:, :size] = 0
        if x.shape[3] % 2:  # what lies in the middle is of neither
            first[:, size] = last[:, size] = 0
        both = (turned * first).sum(dim=(2, 3)) - (turned * last).sum(dim=(2, 3))
        halves.append((2 * both / weights.sum()).abs())
    mirrored = mean((x - x.flip(3)).abs(), face)
    steps = []
    for axis in (3, 2):
        step = x.diff(dim=axis).abs()
        lengths = [face.shape[0] - (axis == 2), face.shape[1] - (axis == 3)]
        both = face[: lengths[0], : lengths[1]] * face[-lengths[0] :, -lengths[1] :]
        steps += [mean(step, both), (step * (both > 0.5)).amax(dim=(2, 3))]
    return [middle, deviation, *halves, mirrored, *steps]


def test_features_are_those_of_pytorch(tmp_path: Path) -> None:
    state = random_weights()
    stream = BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    content = natural_features_onnx(stream.getvalue())
    assert content == natural_features_onnx(stream.getvalue())
    path = tmp_path / "features.onnx"
    path.write_bytes(content)
    onnx.checker.check_model(str(path))
    image = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    wanted = expected_features(state, image).numpy()
    for backend in ("openvino", "onnxruntime"):
        network = Network("features", path, file_sha256(path))
        with open_network(network, backend, Options(precision="f32")) as engine:
            found = engine.infer({"image": image})["features"]
        assert found.shape == (2, FEATURES)
        assert np.abs(found - wanted).max() < 1e-4 * max(1.0, np.abs(wanted).max())


def test_other_weights_are_refused() -> None:
    stream = BytesIO()
    torch.save(OrderedDict(a=torch.zeros(2)), stream, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="no weights of an EfficientNet-Lite2"):
        natural_features_onnx(stream.getvalue())


@pytest.mark.usefixtures("models")
def test_the_real_weights_tell_pictures_apart() -> None:
    astronaut = portrait("astronaut")
    astronaut = cv2.resize(astronaut, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = np.full_like(astronaut, 128)
    with load_engine("natural_features", precision="f32") as engine:
        found = engine.infer({"image": np.stack([astronaut, astronaut[:, ::-1], grey])})["features"]
    across = np.linalg.norm(found[0] - found[1])
    assert across < 0.3 * np.linalg.norm(found[0] - found[2])


def test_the_face_lies_in_its_ellipse() -> None:
    for side in (5, 10, 20):
        region = face_region(side)
        np.testing.assert_array_equal(region, region[::-1, ::-1])
        assert region.mean() == pytest.approx(np.pi * np.prod(FACE_AXES), abs=0.002)
        assert not np.delete(region[0], slice(side // 2 - 1, side // 2 + 1 + side % 2)).any()
        assert region[side // 2, side // 2] == 1
