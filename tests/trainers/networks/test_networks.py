import colorsys

import numpy as np
import pytest
import torch

from padflow.trainers.networks import NETWORKS, NetworkOptions, build_network
from padflow.trainers.networks.base import Strangeness
from padflow.trainers.networks.colour import Colour
from padflow.trainers.networks.layers import CentralDifferenceConv, contrastive_depth_loss
from padflow.trainers.networks.patch import PatchNetwork


def macs(name: str) -> int:
    """Multiply-accumulates of one picture in convolutions and full connections."""
    network = build_network(name).eval()
    counts: list[int] = []

    def count(layer: torch.nn.Module, given: object, output: torch.Tensor) -> None:
        weights = layer.get_parameter("weight")
        counts.append(weights[0].numel() * output[0].numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(network.example(1))
    return sum(counts)


def parameters(name: str) -> int:
    return sum(p.numel() for p in build_network(name).parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_the_promised_shapes(name: str) -> None:
    network = build_network(name, NetworkOptions(embedding=16)).eval()
    with torch.inference_mode():
        found = network(network.example(2))
    assert found.score.shape == found.strangeness.shape == (2,)
    assert found.embedding.shape == (2, 16)
    assert {found.score.dtype, found.embedding.dtype, found.strangeness.dtype} == {torch.float32}
    if network.has_depth:
        assert found.depth.shape == (2, 32, 32)
        assert 0 <= found.depth.min() <= found.depth.max() <= 1
    else:
        assert found.depth is None


def test_sizes_are_the_published_ones() -> None:
    assert parameters("depth") == pytest.approx(2.25e6, rel=0.02)
    assert parameters("patch") == pytest.approx(3.56e6, rel=0.02)
    assert macs("depth") == pytest.approx(47e9, rel=0.02)


def test_light_variants_are_eight_times_cheaper() -> None:
    assert macs("depth") > 8 * macs("depth_light")
    assert macs("patch") > 8 * macs("patch_light")
    assert 30e6 < macs("context") < 150e6


def test_patch_stages_halve_down_to_three() -> None:
    network = build_network("patch").eval()
    assert isinstance(network, PatchNetwork)
    features = torch.zeros(1, 6, 96, 96)
    sides = []
    for stage in network.stages:
        features = stage(features)
        sides.append(features.shape[-1])
    assert sides == [48, 24, 12, 6, 3]
    assert network.connect[0](features).shape == (1, 1000, 1, 1)


def test_depth_levels_and_merge() -> None:
    network = build_network("depth", NetworkOptions(width=0.25)).eval()
    sides: list[tuple[int, ...]] = []
    for block in network.get_submodule("blocks").children():
        block.register_forward_hook(lambda m, i, o: sides.append(tuple(o.shape[1:])))
    network.get_submodule("map").register_forward_hook(
        lambda m, i, o: sides.append(tuple(i[0].shape[1:]))
    )
    with torch.inference_mode():
        network(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    assert sides == [(32, 128, 128), (32, 64, 64), (32, 32, 32), (96, 32, 32)]


def test_colour_planes_are_rgb_and_turned_hsv() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    pixels[0, 0, :6] = [[0, 0, 0], [255, 255, 255], [9, 9, 3], [7, 200, 200], [4, 0, 4], [5, 5, 5]]
    planes = Colour()(torch.from_numpy(pixels)).numpy()
    assert np.abs(planes[:, :3].transpose(0, 2, 3, 1) - (pixels / 127.5 - 1)).max() < 1e-6
    for pixel, found in zip(
        pixels.reshape(-1, 3), planes.transpose(0, 2, 3, 1).reshape(-1, 6), strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        turned = (hue + 0.5) % 1 * 2 - 1
        apart = abs(found[3] - turned)
        assert min(apart, 2 - apart) < 1e-5  # cyan is both ends
        assert found[4:] == pytest.approx([saturation * 2 - 1, value * 2 - 1], abs=1e-5)


def test_central_difference_convolution() -> None:
    torch.manual_seed(0)
    plain, difference = CentralDifferenceConv(3, 5, 0.0), CentralDifferenceConv(3, 5, 0.7)
    image = torch.randn(2, 3, 9, 9)
    expected = torch.nn.functional.conv2d(image, plain.weight, padding=1)
    torch.testing.assert_close(plain(image), expected)
    torch.testing.assert_close(difference.folded()(image), difference(image))
    flat = difference(torch.full((1, 3, 9, 9), 2.0))[0, :, 1:-1, 1:-1]
    sums = difference.weight.sum(dim=(1, 2, 3))
    torch.testing.assert_close(flat[:, 3, 3], 0.3 * sums * 2.0, atol=1e-5, rtol=1e-4)


def test_contrastive_depth_loss_sees_contrast_only() -> None:
    depth = torch.rand(2, 32, 32)
    assert contrastive_depth_loss(depth, depth) == 0
    assert contrastive_depth_loss(depth + 0.3, depth) == pytest.approx(0, abs=1e-10)
    bumped = depth.clone()
    bumped[:, 10, 10] += 1
    assert contrastive_depth_loss(bumped, depth) == pytest.approx(2 / 900, rel=1e-3)


def test_score_does_not_shape_the_map() -> None:
    network = build_network("depth_light", NetworkOptions(width=0.5))
    image = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    network(image).score.sum().backward()
    assert all(p.grad is None for p in network.get_submodule("map").parameters())
    assert all(p.grad is not None for p in network.get_submodule("blocks").parameters())


def test_strangeness_is_one_at_the_quantile_and_grows_outside() -> None:
    torch.manual_seed(3)
    live = torch.arange(4000) % 2 == 0
    centres = torch.where(live[:, None], 3.0, -3.0)
    spread = torch.tensor([1.0, 0.2, 5.0, 1e-8])
    embeddings = centres + torch.randn(4000, 4) * spread
    strangeness = Strangeness(4)
    assert strangeness(embeddings).max() < 1e-5  # not fitted: nothing is strange
    strangeness.fit(embeddings[:2000], live[:2000], embeddings[2000:])
    assert (strangeness(embeddings[2000:]) > 1).float().mean() == pytest.approx(0.005, abs=1e-3)
    away = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 6.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    near, beside, between = strangeness(away).tolist()
    assert near < 0.2
    assert beside > 1
    assert between > 1
