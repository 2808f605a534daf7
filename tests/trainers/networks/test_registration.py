"""The registration layer: what lies where on the canonical grid, what is masked, what learns."""

import numpy as np
import pytest
import torch
from torch import Tensor

from padflow.nodes.canonical import canonical_face
from padflow.nodes.skin import SkinMapper
from padflow.trainers.networks.registration import LEAST_DEPTH, register

SIDE = 32


def identity(side: int = SIDE) -> Tensor:
    """Cell (i, j) in the middle of pixel (i, j)."""
    middles = (torch.arange(side) + 0.5) / side
    rows, columns = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()])[None]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def near(count: int = 1) -> Tensor:
    return torch.ones(count, SIDE, SIDE)


def test_the_identity_gives_the_features_back() -> None:
    features = drawn(1, 3, SIDE, SIDE)
    assert torch.allclose(register(features, near(), identity()), features, atol=1e-5)


def test_golden_values_between_pixels_and_beyond_the_border() -> None:
    features = torch.arange(float(SIDE)).expand(1, 1, SIDE, SIDE)  # the column's number
    places = torch.full((1, 2, SIDE * SIDE), 0.5)
    places[0, :, 0] = torch.tensor([10.5 / SIDE, 0.5])  # the middle of column 10
    places[0, :, 1] = torch.tensor([10.75 / SIDE, 0.5])  # a quarter on to column 11
    places[0, :, 2] = torch.tensor([31.75 / SIDE, 0.5])  # a quarter beyond the last
    places[0, :, 3] = torch.tensor([1.2, 0.5])  # outside
    found = register(features, near(), places)[0, 0, 0, :4]
    assert found.tolist() == pytest.approx([10.0, 10.25, 0.75 * 31, 0.0], abs=1e-4)


@pytest.mark.parametrize("moved", [(3, 0), (0, -4), (2, 5)])
def test_a_face_that_moved_with_its_mesh_registers_the_same(moved: tuple[int, int]) -> None:
    down, right = moved
    features, mesh = drawn(1, 2, SIDE, SIDE), torch.tensor(canonical_mesh())
    places = torch.from_numpy(SkinMapper().shares(mesh.numpy(), 256))[None]
    shifted = torch.roll(features, (down, right), dims=(2, 3))
    mesh[:, 0] += right * 256 / SIDE
    mesh[:, 1] += down * 256 / SIDE
    there = torch.from_numpy(SkinMapper().shares(mesh.numpy(), 256))[None]
    assert float(places.min()) > 0.15
    assert float(places.max()) < 0.85
    before, after = register(features, near(), places), register(shifted, near(), there)
    assert torch.allclose(before, after, atol=1e-4)
    assert not torch.allclose(before, register(shifted, near(), places), atol=0.1)


def canonical_mesh() -> np.ndarray:
    """The canonical face, frontal, in the middle of a crop of 256."""
    points = canonical_face().points[:, :2].astype(np.float32)
    low, high = points.min(0), points.max(0)
    scaled = (points - (low + high) / 2) / (high - low).max() * 150 + 128
    return np.column_stack([scaled, np.zeros(len(points), np.float32)]).astype(np.float32)


def test_the_canonical_face_lies_upright_on_the_grid() -> None:
    """The eyes' row shows what is seen at the eyes: places are columns by x and rows by y."""
    mesh = canonical_mesh()
    places = torch.from_numpy(SkinMapper().shares(mesh, 256))[None]
    rows = torch.linspace(0, 1, SIDE)[:, None].expand(1, 1, SIDE, SIDE)
    found = register(rows, near(), places)[0, 0].numpy()
    covered = canonical_face().covered
    assert (np.diff(np.ma.array(found, mask=~covered), axis=0) > 0).all()


def test_what_is_not_near_is_masked() -> None:
    features, depth = drawn(1, 2, SIDE, SIDE) + 1, near()
    depth[:, :, :16] = LEAST_DEPTH - 0.01
    depth[:, :, 16:] = LEAST_DEPTH
    found = register(features, depth, identity())
    assert torch.equal(found[..., :16], torch.zeros_like(found[..., :16]))
    assert torch.allclose(found[..., 16:], features[..., 16:], atol=1e-5)


def test_maps_of_any_side_agree() -> None:
    """Of a ramp from 0 to 1 across the crop, in 8 columns or in 32; a quarter is far away."""
    coarse, fine = ((torch.arange(s) + 0.5).expand(1, 1, s, s) / s for s in (8, SIDE))
    depth = near()
    depth[:, :8] = 0
    found, expected = (register(ramp, depth, identity()) for ramp in (coarse, fine))
    inside = (..., slice(12, -2), slice(2, -2))
    assert torch.allclose(found[inside], expected[inside], atol=1e-4)
    assert torch.equal(found[..., :6, :], torch.zeros_like(found[..., :6, :]))


def test_the_gradient_reaches_features_and_nothing_else() -> None:
    features = drawn(1, 1, SIDE, SIDE).requires_grad_()
    depth = drawn(1, SIDE, SIDE, seed=1).requires_grad_()
    places = identity().requires_grad_()
    register(features, depth, places).sum().backward()  # type: ignore[no-untyped-call]
    assert depth.grad is None
    assert places.grad is None
    assert features.grad is not None
    visible = (depth >= LEAST_DEPTH).float()[:, None]
    assert torch.allclose(features.grad, visible, atol=1e-4)
    assert 0 < float(visible.mean()) < 1
