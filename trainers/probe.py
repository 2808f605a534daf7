"""The honesty check: can live and attack be told apart by traces of our own processing?

A network that is trained on synthesis may learn how the samples were made instead of what they
show. So a linear classifier gets only what processing leaves in a crop (its outermost rows and
columns, periodicity of resampling, block edges of codecs, gaps in the histogram, counts of black
and saturated values, the noise in its corners) and must stay near chance.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..engines.errors import EngineError

Picture = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

_FOLDS = 5
_SMALLEST = 48
_PERIODS = (2, 3, 4, 8)
_BINS = 6
"""Bands of the resampling spectrum whose highest peak is taken."""


class ProbeError(EngineError):
    """What the probe was given cannot be probed."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Trace:
    """Features of one kind, with their names."""

    names: tuple[str, ...]
    values: tuple[float, ...]


def trace_features(crop: Picture) -> Values:
    """What processing left in a crop.

    Args:
        crop: uint8 RGB (h, w, 3), at least 48 pixels each way.

    Returns:
        float32 (k,): one number for each of `trace_names`, all finite.
    """
    return np.array([value for trace in _traces(crop) for value in trace.values], np.float32)


def trace_names() -> tuple[str, ...]:
    """Names of what `trace_features` gives, ``group/feature``."""
    blank = np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8)
    return tuple(name for trace in _traces(blank) for name in trace.names)


def probe_accuracy(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.generic],
    seed: int = 0,
) -> float:
    """How well a linear classifier tells the classes apart in groups that it has not seen.

    Args:
        features: float (N, k).
        labels: int (N,), two classes.
        groups: (N,): the person, or whatever must not stand on both sides.
        seed: Of the division into five folds (fewer, where a class has fewer groups).

    Returns:
        Balanced accuracy over all held-out samples: 0.5 is chance.

    Raises:
        ProbeError: There are not two classes, or a class has only one group.
    """
    classes = np.unique(labels)
    if len(classes) != 2:
        raise ProbeError(f"probe: two classes were expected, found {classes.tolist()}")
    fewest = min(len(np.unique(groups[labels == one])) for one in classes)
    if fewest < 2:
        raise ProbeError("probe: each class needs samples of two groups; one has a single group")
    guesses = np.empty_like(labels)
    folds = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    for known, held_out in folds.split(features, labels, groups):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        )
        model.fit(features[known], labels[known])
        guesses[held_out] = model.predict(features[held_out])
    return float(balanced_accuracy_score(labels, guesses))


def _traces(crop: Picture) -> list[Trace]:
    height, width = crop.shape[:2]
    if min(height, width) < _SMALLEST:
        raise ProbeError(
            f"probe: a crop of at least {_SMALLEST}x{_SMALLEST} pixels was expected, "
            f"found {width}x{height}"
        )
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return [
        _border(crop, luma),
        _resampling(luma),
        _blocks(luma),
        _quantisation(crop),
        _counts(crop),
        _corner_noise(crop),
    ]


def _log(value: float) -> float:
    return float(np.log(max(value, 0.0) + 1e-3))


def _border(crop: Picture, luma: Values) -> Trace:
    """Black bars, and whether the outermost lines are copies or jumps."""
    names: list[str] = []
    values: list[float] = []
    bright = (crop > 2).any(axis=2)
    for side, turned in enumerate(("top", "right", "bottom", "left")):
        view, seen = np.rot90(luma, side), np.rot90(bright, side)
        lit = np.flatnonzero(seen.any(axis=1))
        bar = int(lit[0]) if len(lit) else len(view)
        inner = float(np.abs(np.diff(view[4:20], axis=0)).mean())
        steps = [float(np.abs(view[i + 1] - view[i]).mean()) for i in range(2)]
        names += [f"border/{turned}_{what}" for what in ("bar", "black", "step0", "step1")]
        values += [_log(bar / len(view)), float((~seen[:3]).mean())]
        values += [_log(step + 0.05) - _log(inner + 0.05) for step in steps]
    return Trace(tuple(names), tuple(values))


def _resampling(luma: Values) -> Trace:
    """Interpolation makes the second derivative's strength periodic (Gallagher, CRV 2005)."""
    names: list[str] = []
    values: list[float] = []
    for axis, view in (("x", luma), ("y", luma.T)):
        strength = np.abs(np.diff(view, n=2, axis=1)).mean(axis=0)
        strength = np.log(strength + 0.1)
        smooth = cv2.blur(strength[None], (9, 1))[0]
        wave = (strength - smooth) * np.hanning(len(strength))
        spectrum = np.abs(np.fft.rfft(wave, 512))
        level = float(np.median(spectrum)) + 1e-2
        bands = np.array_split(spectrum[40:], _BINS)
        names += [f"resampling/{axis}_band{index}" for index in range(_BINS)]
        values += [float(np.log((band.max() + 1e-2) / level)) for band in bands]
        names += [f"resampling/{axis}_level"]
        values += [float(np.log(level))]
    return Trace(tuple(names), tuple(values))


def _blocks(luma: Values) -> Trace:
    """Jumps on the lattice of a codec's blocks, at whatever phase it lies in the crop."""
    names: list[str] = []
    values: list[float] = []
    for axis, view in (("x", luma), ("y", luma.T)):
        # A jump over a block's edge stands out against the slopes on both its sides.
        step = np.abs(np.diff(view, axis=1))
        jump = np.minimum(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, 12.0).mean(axis=0)
        deviation = float(jump.std()) + 0.02
        for period in (*_PERIODS, 16):
            phases = [float(jump[phase::period].mean()) for phase in range(period)]
            names += [f"blocks/{axis}_{period}"]
            values += [(max(phases) - float(np.median(phases))) / deviation]
    return Trace(tuple(names), tuple(values))


def _quantisation(crop: Picture) -> Trace:
    """Gaps and combs that curves and gains leave in a histogram that was of 8 bits before."""
    names: list[str] = []
    values: list[float] = []
    for index, channel in enumerate("rgb"):
        count = np.bincount(crop[..., index].ravel(), minlength=256).astype(np.float64)
        low, high = np.searchsorted(np.cumsum(count) / count.sum(), (0.02, 0.98))
        inside = count[low : high + 1]
        if len(inside) < 8:
            inside = np.ones(8)
        comb = np.abs(inside[1:-1] - (inside[:-2] + inside[2:]) / 2).sum() / inside.sum()
        even = inside[::2].sum() / inside.sum()
        names += [f"quantisation/{channel}_{what}" for what in ("gaps", "comb", "parity")]
        values += [float((inside == 0).mean()), _log(comb), float(abs(even - 0.5))]
    return Trace(tuple(names), tuple(values))


def _counts(crop: Picture) -> Trace:
    """Shares of exactly black and exactly saturated values, and of grey pixels."""
    names: list[str] = []
    values: list[float] = []
    for index, channel in enumerate("rgb"):
        for code in (0, 255):
            names += [f"counts/{channel}_{code}"]
            values += [_log(float((crop[..., index] == code).mean()))]
    grey = (crop[..., 0] == crop[..., 1]) & (crop[..., 1] == crop[..., 2])
    return Trace((*names, "counts/grey"), (*values, _log(float(grey.mean()))))


def _corner_noise(crop: Picture) -> Trace:
    """Residual noise of luma and colour in the corners, outside a face in the middle."""
    luma, *chroma = cv2.split(cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb))
    height, width = luma.shape
    down, across = height // 7, width // 7
    names: list[str] = []
    values: list[float] = []
    for name, plane in zip(("luma", "red", "blue"), (luma, *chroma), strict=True):
        rest = np.abs(plane.astype(np.float32) - cv2.medianBlur(plane, 3))
        corners = (
            rest[:down, :across],
            rest[:down, -across:],
            rest[-down:, :across],
            rest[-down:, -across:],
        )
        # The quietest corner holds the least of what is seen there.
        levels = sorted(float(corner.mean()) for corner in corners)
        names += [f"noise/{name}_quiet", f"noise/{name}_middle"]
        values += [_log(levels[0]), _log(levels[1])]
    return Trace(tuple(names), tuple(values))
