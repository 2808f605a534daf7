"""Scores of a network on the rows of a crop store, and the error rates that they give."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .batches import patches_present
from .crops import CropStore, Values
from .evaluation.metrics import Scores, area_under_curve, curve, equal_error, rates_at
from .holdout import Rows
from .networks import CropNetwork

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a network says of M pictures, in order of their rows; a row may have several."""

    place: Rows
    """(M,) index into the rows that were asked for."""
    score: Floats
    """(M,) logits."""
    embedding: Floats
    """(M, K)."""

    def by_row(self, rows: int) -> Floats:
        """Mean score of each row (rows,), NaN for one without a picture."""
        total = np.bincount(self.place, self.score, rows)
        count = np.bincount(self.place, minlength=rows)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / count, np.nan), np.float32)


def pictures(
    store: CropStore, rows: Rows, crop: str, size: int = 64
) -> Iterator[tuple[Rows, Values]]:
    """The pictures of the rows as they are, in batches, each with its index into ``rows``.

    A row gives one picture, or its patches that are present.
    """
    present = patches_present(store, rows) if crop == "patches" else None
    for start in range(0, len(rows), size):
        places = np.arange(start, min(start + size, len(rows)))
        if present is None:
            yield places, store.take(crop, rows[places])
            continue
        kept = present[places]
        if kept.any():
            yield places[np.nonzero(kept)[0]], store.take(crop, rows[places])[kept]


def score_rows(network: CropNetwork, store: CropStore, rows: Rows, *, bf16: bool = False) -> Scored:
    """Run a network over rows in evaluation mode; its mode and device stay as they were."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    places, scores, embeddings = [], [], []
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for place, images in pictures(store, rows, network.crop):
                found = network(torch.from_numpy(images).to(device))
                places.append(place)
                scores.append(found.score.float().cpu().numpy())
                embeddings.append(found.embedding.float().cpu().numpy())
    finally:
        network.train(training)
    if not places:
        return Scored(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 1), np.float32))
    return Scored(np.concatenate(places), np.concatenate(scores), np.concatenate(embeddings))


def spread(store: CropStore, rows: Rows, most: int) -> Rows:
    """At most ``most`` of the rows, half of them live where there are enough, evenly spread."""
    if len(rows) <= most:
        return rows
    live = store.live[rows]
    parts = [rows[live], rows[~live]]
    fewer = min(len(part) for part in parts)
    share = min(fewer, most // 2)
    sizes = [share if len(part) == fewer else most - share for part in parts]
    if len(parts[0]) == len(parts[1]):
        sizes = [most // 2, most - most // 2]
    taken = [
        part[np.linspace(0, len(part) - 1, size).round().astype(np.int64)]
        for part, size in zip(parts, sizes, strict=True)
        if size
    ]
    return np.sort(np.concatenate(taken))


def measures(store: CropStore, rows: Rows, score: Floats) -> dict[str, float]:
    """Error rates of scores (N,) of rows (N,): shares 0..1.

    ``auc``, ``eer`` and, at logit 0, ``bpcer``, ``apcer_<species>``, ``acer`` (worst species), by
    crop; ``clip_auc`` and ``clip_eer`` by the mean of each clip. Those that need both classes are
    left out where one is missing.
    """
    table = [store.rows[i] for i in rows]
    by_crop = Scores(
        score.astype(np.float64),
        np.array([row.label == "live" for row in table], bool),
        tuple(row.species for row in table),
        tuple(row.person for row in table),
    )
    known = np.isfinite(by_crop.score)
    live, attack = known & by_crop.live, known & ~by_crop.live
    if not (live.any() and attack.any()):
        return _one_class(by_crop, live, attack)
    line = curve(by_crop)
    rates = rates_at(by_crop, 0.0)
    clips = curve(_by_clip(by_crop, [row.clip for row in table]))
    return {
        "auc": area_under_curve(line),
        "eer": equal_error(line)[0],
        "acer": (rates.worst + rates.bpcer) / 2,
        "bpcer": rates.bpcer,
        "clip_auc": area_under_curve(clips),
        "clip_eer": equal_error(clips)[0],
        **{f"apcer_{name}": float(rate) for name, rate in rates.apcer.items()},
    }


def _one_class(
    scores: Scores, live: npt.NDArray[np.bool_], attack: npt.NDArray[np.bool_]
) -> dict[str, float]:
    if live.any():
        return {"bpcer": float((scores.score[live] < 0).mean())}
    return {"apcer": float((scores.score[attack] >= 0).mean())} if attack.any() else {}


def _by_clip(scores: Scores, clips: list[str]) -> Scores:
    """One score a clip: the mean of its crops that have one."""
    keys = list(zip(clips, scores.species, scores.person, scores.live.tolist(), strict=True))
    groups: dict[tuple[str, str, str, bool], list[float]] = {}
    for key, value in zip(keys, scores.score, strict=True):
        if np.isfinite(value):
            groups.setdefault(key, []).append(float(value))
    return Scores(
        np.array([np.mean(values) for values in groups.values()]),
        np.array([key[3] for key in groups], bool),
        tuple(key[1] for key in groups),
        tuple(key[2] for key in groups),
    )
