"""Moves a figure: eyelids, small expressions, the head on its neck, the body in the room."""

from typing import NamedTuple

import numpy as np

from ...nodes.canonical import (
    LEFT_BROW,
    LEFT_MOUTH_CORNER,
    MESH_POINTS,
    RIGHT_BROW,
    RIGHT_MOUTH_CORNER,
    point_normals,
)
from ...nodes.pose import rotation_of
from .identity import INTEROCULAR, Identity
from .parameters import Array

NECK = np.array([0.0, 0.115, 0.085], np.float32)
"""Where the head turns, in metres from the middle of the eyes: the top of the spine."""

_UPPER_LIDS = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
_LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
_FOLDS = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)
"""The rows of points along and above the eye openings, in step with each other."""


class Bearing(NamedTuple):
    """How a person stands and looks at one moment."""

    position: Array
    """float (3,): middle of the eyes (of the neck's, before the head turns), metres."""
    head: tuple[float, float, float]
    """Yaw, pitch, roll of the head in degrees, signs as in ``Quality``."""
    trunk: tuple[float, float, float]
    """The same of the trunk."""
    blink: float = 0.0
    """0 eyes open, 1 closed."""
    smile: float = 0.0
    """-1..1: mouth corners down or up and out by a twentieth of the interocular distance."""
    brows: float = 0.0
    """-1..1: the same of the brows."""


def expression_shift(mesh: Array, blink: float, smile: float, brows: float) -> Array:
    """How an expression moves the face's points.

    Args:
        mesh: float32 (468, 3): at rest, metres.
        blink: 0..1. The upper lids slide over the eyes down to the lower ones.
        smile: -1..1.
        brows: -1..1.

    Returns:
        float32 (468, 3), metres.
    """
    shift = np.zeros_like(mesh)
    upper, lower, folds = list(_UPPER_LIDS), list(_LOWER_LIDS), list(_FOLDS)
    closing = (mesh[lower] - mesh[upper]) * (0.96 * blink)
    shift[upper] += closing
    shift[folds] += closing * 0.4
    step = 0.05 * INTEROCULAR
    for corner, side in ((RIGHT_MOUTH_CORNER, -1.0), (LEFT_MOUTH_CORNER, 1.0)):
        pull = np.array([side, -0.7, 0.0], np.float32) * (step * smile)
        shift += _falling_off(mesh, mesh[corner], 0.35 * INTEROCULAR) * pull
    for brow in (RIGHT_BROW, LEFT_BROW):
        lift = np.array([0.0, -1.0, 0.0], np.float32) * (step * brows)
        shift += _falling_off(mesh, mesh[list(brow)].mean(axis=0), 0.3 * INTEROCULAR) * lift
    return shift


def _falling_off(mesh: Array, centre: Array, width: float) -> Array:
    distance = np.linalg.norm(mesh - centre, axis=1, keepdims=True)
    return np.asarray(np.exp(-((distance / width) ** 2)), np.float32)


def posed(identity: Identity, bearing: Bearing) -> Array:
    """float32 (n, 3): the figure's points in the camera's axes, metres."""
    points = identity.figure.points.copy()
    points[:MESH_POINTS] += expression_shift(
        identity.mesh, bearing.blink, bearing.smile, bearing.brows
    )
    return carried(points, identity.head_share, bearing)


def carried(points: Array, head_share: Array, bearing: Bearing) -> Array:
    """Points of a figure at rest, turned and moved by the head as far as they belong to it."""
    from_neck = points - NECK
    with_head = from_neck @ rotation_of(*bearing.head).T.astype(np.float32)
    with_trunk = from_neck @ rotation_of(*bearing.trunk).T.astype(np.float32)
    share = head_share[:, None]
    turned = with_head * share + with_trunk * (1.0 - share)
    return np.asarray(turned + NECK + bearing.position, np.float32)


def relit(
    points: Array, triangles: Array, rest_normals: Array, to_light: Array, ambient: float = 0.65
) -> Array:
    """Change of the light on each point when a lit figure turns.

    A portrait already holds the shading of its own light, so only the ratio to the rest shape
    counts.

    Args:
        points: float32 (n, 3): posed.
        triangles: int (m, 3).
        rest_normals: float32 (n, 3).
        to_light: float (3,): unit vector towards the lamp.
        ambient: Share of the light that comes from everywhere.

    Returns:
        float32 (n,), about 1.
    """
    now = _received(point_normals(points, triangles), to_light, ambient)
    return np.asarray(now / _received(rest_normals, to_light, ambient), np.float32)


def _received(normals: Array, to_light: Array, ambient: float) -> Array:
    direct = np.maximum(normals @ to_light.astype(np.float32), 0.0)
    return np.asarray(ambient + (1.0 - ambient) * direct)
