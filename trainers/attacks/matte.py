"""Cuts a person out of a portrait: soft coverage, and colours free of the old background."""

import cv2
import numpy as np

from .parameters import Array

BAND = 7
"""Pixels on either side of the marked outline in which the true edge is looked for."""
_SEED = 7


def pad_picture(image: Array, margin: int, below: int) -> Array:
    """The picture with room around it.

    Args:
        image: uint8 (h, w, 3).
        margin: Pixels at the top and the sides: border pixels repeated.
        below: Pixels at the bottom: the picture mirrored, which continues cloth without streaks.
    """
    longer = cv2.copyMakeBorder(image, 0, below, 0, 0, cv2.BORDER_REFLECT)
    return np.asarray(cv2.copyMakeBorder(longer, margin, 0, margin, margin, cv2.BORDER_REPLICATE))


def person_coverage(image: Array, outline: Array) -> Array:
    """How much of each pixel the person covers.

    GrabCut (Rother et al. 2004) decides inside a band around the marked outline, so that the
    edge follows hair and cloth and cannot leak into a background of the same colour.

    Args:
        image: uint8 RGB (h, w, 3).
        outline: float (n, 2) pixels.

    Returns:
        float32 (h, w), 0..1, with edges about two pixels soft.
    """
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(outline).astype(np.int32)], 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND + 1, 2 * BAND + 1))
    labels = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(inside, disc) > 0] = cv2.GC_FGD
    labels[cv2.dilate(inside, disc) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(_SEED)  # GrabCut clusters colours with OpenCV's global generator
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image, labels, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    person = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    person = _largest_part(cv2.medianBlur(person, 5))
    soft = cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1.2)
    # Half a pixel inward: the outermost pixels are a mixture with the old background.
    return np.asarray(np.clip((soft - 0.35) / 0.6, 0.0, 1.0), np.float32)


def unmixed_colours(linear: Array, coverage: Array, reach: int = 6) -> Array:
    """Colours of the person carried outward over the edge, where the background shone in.

    Args:
        linear: float32 (h, w, 3).
        coverage: float32 (h, w), 0..1.
        reach: Pixels over which inner colours replace mixed ones.

    Returns:
        float32 (h, w, 3): as given where the person is whole, continued outside.
    """
    size = 2 * (reach // 2) + 1
    core = cv2.erode((coverage > 0.98).astype(np.float32), np.ones((size, size), np.float32))
    result = linear * core[..., None]
    weight = core
    for spread in (2.0, 5.0, 14.0, 40.0):
        known = cv2.GaussianBlur(result * weight[..., None], (0, 0), spread)
        amount = cv2.GaussianBlur(weight, (0, 0), spread)
        filled = known / np.maximum(amount, 1e-6)[..., None]
        new = ((weight == 0) & (amount > 0.02)).astype(np.float32)
        result = result + filled * new[..., None]
        weight = np.maximum(weight, new)
    keep = cv2.GaussianBlur(core, (0, 0), 1.0)[..., None]
    return np.asarray(linear * keep + result * (1.0 - keep), np.float32)


def _largest_part(mask: Array) -> Array:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest, np.uint8)
