"""Depth labels: the face's mesh drawn as a map of nearness (METHODS 8.6).

The published label normalises depth to 0..1 over the face, the nearest point 1 (Liu et al. 2018).
So is this one, but that the farthest seen point of the face is :data:`FLOOR`, not 0: with 0 the
face's rim would be labelled as background and as a print. Between the two the label is linear in
depth. Background and planes (prints, screens) are 0.
"""

import numpy as np

from ...nodes.canonical import MESH_POINTS, canonical_face
from ..attacks.parameters import Array
from ..attacks.render import rasterise

DEPTH_SIDE = 32
FLOOR = 0.2
"""Label of the farthest seen point of a face, where 1 is the nearest and 0 the background."""
DEPTH_VERSION = 1
"""Raised whenever the same mesh gets another label: labels kept on disk are then made anew."""

_THIN = 1e-6
"""Pixels of relief below which a mesh counts as flat: then all of it is equally near."""
_LARGEST = 96
"""The widest label: the rasteriser's triangles span no more samples than this."""


def depth_label(mesh: Array, size: int, out: int = DEPTH_SIDE) -> Array:
    """Draw a face's mesh as a map of nearness.

    Every cell shows what its middle sees: the nearest surface there, interpolated over the mesh's
    triangle. Nearness is ``FLOOR + (1 - FLOOR) * (far - z) / (far - near)``, with near and far of
    the cells drawn, and is written as 0..255. It does not change when the face is moved along z
    or all of its z is scaled, and it falls with z strictly, up to rounding.

    Takes about 0.5 ms.

    Args:
        mesh: float32 (468, 3): x and y in pixels of the crop by their centres; z in the same
            scale, negative towards the camera.
        size: Side of the crop in pixels.
        out: Side of the label in cells, up to 96; the cells divide the crop evenly.

    Returns:
        uint8 (out, out): 255 at the nearest cell, ``round(255 * FLOOR)`` (51) at the farthest
        cell of the face, 0 beside it; all 0 where no part of the face is in the crop.

    Raises:
        ValueError: The mesh has another shape or holds what is no number, or a size makes no
            sense.
    """
    _check(mesh, size, out)
    scale = out / size
    cells = (mesh[:, :2] + 0.5) * scale - 0.5
    depth = mesh[:, 2:]
    drawn, face = rasterise(cells, depth[:, 0], canonical_face().triangles, depth, (out, out))
    label = np.zeros((out, out), np.uint8)
    if not face.any():
        return label
    z = drawn[..., 0][face]
    near, far = float(z.min()), float(z.max())
    nearness = (far - z) / (far - near) if far - near > _THIN else np.ones_like(z)
    label[face] = np.rint(255.0 * (FLOOR + (1.0 - FLOOR) * nearness)).astype(np.uint8)
    return label


def plane_label(out: int = DEPTH_SIDE) -> Array:
    """The label of a print or a screen, which have no depth: uint8 (out, out), all 0."""
    return np.zeros((out, out), np.uint8)


def _check(mesh: Array, size: int, out: int) -> None:
    if mesh.shape != (MESH_POINTS, 3):
        raise ValueError(
            f"mesh: expected shape ({MESH_POINTS}, 3), found {mesh.shape}; "
            "give x, y and z of every point of the face mesh"
        )
    if not np.isfinite(mesh).all():
        raise ValueError("mesh: expected finite numbers, found NaN or infinity; leave the face out")
    if size < 1:
        raise ValueError(f"size: expected the crop's side in pixels, found {size}; give 1 or more")
    if not 1 <= out <= _LARGEST:
        raise ValueError(f"out: expected 1 to {_LARGEST} cells, found {out}; draw a smaller label")
