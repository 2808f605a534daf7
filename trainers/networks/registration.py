"""The non-rigid registration layer of Liu, Jourabloo and Liu (CVPR 2018; METHODS 8.2).

What a network sees of a face in each frame is laid onto one frontal grid, so that a cell is the
same spot of skin in every frame of every person, however the head is turned or moves. The grid is
that of the registered skin map (:mod:`padflow.nodes.skin`), with the mesh in the place of the
paper's dense fit; the layer has no weights.
"""

from torch import Tensor
from torch.nn import functional

from ...nodes.canonical import GRID_SIDE

LEAST_DEPTH = 0.1
"""Depth from which on something is the face and not a background or a plane."""


def register(features: Tensor, depth: Tensor, places: Tensor) -> Tensor:
    """Features of N crops on the canonical grid: F(i, j) = U at the place of cell (i, j).

    U are the features where the depth map is at least :data:`LEAST_DEPTH`, and 0 elsewhere.
    Between the features' cells it is interpolated bilinearly, outside the crop it is 0. Places are
    counted from the crop's edges, as ``grid_sample`` does with ``align_corners=False``: the middle
    of the first of w columns is at 0.5 / w, whatever w is, so that maps of any side agree.

    The gradient reaches the features only, neither the depth nor the places.

    Args:
        features: float (N, C, h, w).
        depth: float (N, H, W): the depth network's map, nearest 1; of any size.
        places: float (N, 2, 1024): x and y of the cells' middles, row by row, in shares of the
            crop's side from its left and upper edge; as of :meth:`SkinMapper.shares`.

    Returns:
        (N, C, 32, 32).
    """
    visible = (depth.detach() >= LEAST_DEPTH).to(features.dtype).unsqueeze(1)
    if visible.shape[-2:] != features.shape[-2:]:
        visible = functional.interpolate(visible, features.shape[-2:], mode="nearest")
    grid = 2 * places.detach().transpose(1, 2).reshape(-1, GRID_SIDE, GRID_SIDE, 2) - 1
    return functional.grid_sample(
        features * visible, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
