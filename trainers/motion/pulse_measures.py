"""What a pulse network on depth features says of whole sequences, a look a second as its node."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...nodes.pulse_depth import MINIMUM, WINDOW, Beat, PulseDepthParams, beat_of
from ...nodes.spectrum import HALF_WIDTH_BPM, pulse_frequencies, uneven_spectrum
from ..calibration import Fit, cllr
from ..evaluation.metrics import Scores, area_under_curve, curve, equal_error
from ..learning import device_of
from ..networks.pulse_depth import PulseDepthNetwork
from .batches import Places
from .measures import auc_by_species, scores_of
from .pulse_batches import AS_IT_IS, stretch_of
from .report import Figure, ratios
from .stages import Backbone, seen
from .store import SequenceRow, StoredSequence, Times

LONGEST = 60.0
"""Seconds of a sequence that are looked at, at most."""
_AT_ONCE = 32
"""Frames whose features are laid onto the grid at once."""

Waves = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """What was said at one time of one sequence."""

    row: SequenceRow
    beat: Beat
    true: float | None
    """Hz of the strongest bin of the sequence's label; None: it has none, as an attack."""
    away: float
    """L1 distance of the spectrum to the label (METHODS 8.4)."""


@dataclass(frozen=True, slots=True)
class Looks:
    """All looks at some sequences, M in all."""

    looks: tuple[Look, ...]

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """(M,), as of :func:`~padflow.nodes.pulse_depth.beat_of`."""
        return np.array([one.beat.score for one in self.looks], np.float64)

    @property
    def rows(self) -> list[SequenceRow]:
        """(M,): whose look it is."""
        return [one.row for one in self.looks]

    @property
    def last(self) -> "Looks":
        """Each sequence's last look."""
        return Looks(tuple({one.row.id: one for one in self.looks}.values()))

    @property
    def scores(self) -> Scores:
        """For the error rates."""
        return scores_of(self.rows, self.score)


def look_at(
    network: PulseDepthNetwork, sequences: Sequence[StoredSequence], backbone: Backbone
) -> Looks:
    """Run a network over sequences, frame by frame, and look once a second.

    Args:
        network: in evaluation mode.
        sequences: that :func:`.pulse_batches.usable` let through; their features are there.
        backbone: that these are of.
    """
    return Looks(
        tuple(one for sequence in sequences for one in _looks(network, sequence, backbone))
    )


def waves_of(
    network: PulseDepthNetwork, sequence: StoredSequence, backbone: Backbone
) -> tuple[Times, Waves]:
    """Times, float64 (T,), and the wave, float32 (T,), of a sequence."""
    times = sequence.times
    taken: Places = np.flatnonzero(times <= times[0] + LONGEST)
    known = seen(sequence, backbone, AS_IT_IS, 0)
    device, cells = device_of(network), []
    with torch.inference_mode():
        for start in range(0, len(taken), _AT_ONCE):
            part = stretch_of(sequence, known, taken[start : start + _AT_ONCE])
            one, two, three, single, places = (
                torch.from_numpy(rows[0]).to(device)
                for rows in (*part.stages, part.single, part.places)
            )
            cells.append(network.cells((one, two, three), single, places))
        interval = np.diff(times[taken], prepend=times[0]).astype(np.float32)
        seconds = torch.from_numpy(interval)[None].to(device)
        waves = network.waves(torch.cat(cells)[None], seconds)
    return times[taken], waves[0].cpu().numpy()


def _looks(
    network: PulseDepthNetwork, sequence: StoredSequence, backbone: Backbone
) -> Iterator[Look]:
    label = sequence.pulse
    assert label is not None
    true = float(pulse_frequencies()[int(label.argmax())]) if label.any() else None
    times, waves = waves_of(network, sequence, backbone)
    for end in np.arange(times[0] + MINIMUM, times[-1] + 1e-3, PulseDepthParams().period):
        newest = (times > end - WINDOW - 1e-3) & (times <= end + 1e-3)
        spectrum = np.abs(uneven_spectrum(times[newest], waves[newest], pulse_frequencies()))
        away = float(np.abs(spectrum - label).sum())
        yield Look(sequence.row, beat_of(times[newest], waves[newest]), true, away)


def measured(found: Looks) -> dict[str, float]:
    """Of an epoch: the loss, AUC and EER of the last looks, and how far heart rates are off."""
    line = curve(found.last.scores)
    return {
        "held_out_loss": float(np.mean([one.away for one in found.looks])),
        "auc": area_under_curve(line),
        "eer": equal_error(line)[0],
        **{f"auc_{name}": value for name, value in auc_by_species(found.last.scores).items()},
        "mae_bpm": float(np.mean(_misses(found))),
    }


def figures(fit: Fit, found: Looks) -> Iterator[Figure]:
    """What a bundle tells of some sequences; with one class only, ratios and heart rates alone."""
    live = found.scores.live
    method = "ln of the spectrum's power, last look at each sequence"
    if len(set(live.tolist())) == 2:
        values = measured(found)
        for name in ("auc", "eer", *(key for key in values if key.startswith("auc_"))):
            yield name, values[name], "1", method
        yield "cllr", cllr(fit.llr(found.score), live), "bit", "all looks"
    if live.any():
        misses = _misses(found)
        yield "mae_bpm", float(np.mean(misses)), "1/min", "strongest line against the label's"
        near = float(np.mean([miss <= HALF_WIDTH_BPM for miss in misses]))
        yield "found", near, "1", f"share of looks whose line is within {HALF_WIDTH_BPM:g} a minute"
    yield from ratios(fit.llr(found.score), [row.species for row in found.rows], "all looks")


def _misses(found: Looks) -> list[float]:
    """Beats a minute by which the strongest line is off, for each look at a living sequence."""
    return [60 * abs(one.beat.frequency - one.true) for one in found.looks if one.true is not None]
