"""Bundles judge the rows of a crop store: ratios in nats, and what fusion makes of them.

Each network runs on OpenVINO as its node runs it: the mean score of a row's pictures, calibrated
by the bundle's manifest, and no evidence where the picture is unlike the training.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from ...engines.bundle import Bundle, read_bundle
from ...engines.engine import open_network
from ...engines.errors import EngineError
from ...engines.network import Network, Options, Precision
from ...engines.whole_file import whole_file
from ...nodes.appearance import Calibrated
from ...nodes.fuse import Look, accumulate, add_up
from ...nodes.policy import Policy
from ..batches import patches_present
from ..crops import CropStore, Values
from ..features import SIGHTS
from ..holdout import Rows

Floats = npt.NDArray[np.float64]

CROP_OF = {"depth": "face", "patch": "patches", "context": "context"}
"""What each cue's network looks at, if no third-party network sees the face for it."""
BATCH = 8
PAIR = ("depth", "patch")
ALL = "fusion"


class StudyError(EngineError):
    """A study cannot be made of what was given."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a study."""

    name: str
    cue: str
    bundle: Bundle
    network: Network

    def held_out(self, what: str) -> frozenset[str]:
        """Names of ``persons``, ``media`` or ``cameras`` that the training held out."""
        training = self.bundle.manifest.training
        if told := training.held_out(what):
            return frozenset(told)
        recipe = yaml.safe_load(training.recipe)
        rule = recipe.get("hold_out") if isinstance(recipe, dict) else None
        return frozenset((rule or {}).get(what) or ())

    @property
    def told(self) -> dict[str, Any]:
        """Which network it was, for who reads the numbers later."""
        about, training = self.bundle.manifest.about, self.bundle.manifest.training
        return {
            "name": self.name,
            "bundle": about.name,
            "version": about.version,
            "sha256": self.network.sha256,
            "file": self.network.path.name,
            "trained_on": list(training.data),
        }


@dataclass(frozen=True, slots=True)
class Running:
    """How the networks are run, and on what terms they count."""

    policy: Policy = field(default_factory=Policy)
    precision: Precision = "auto"
    threads: int = 1
    guard: bool = True
    """No evidence from a picture that is unlike the training, as in the graph."""
    cache: Path | None = None
    """Folder that keeps scores, by network and rows, for the next time."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one network says of N rows."""

    llr: Floats
    """(N,) nats by the calibration's line, not clipped; NaN without a picture or a number."""
    strangeness: Floats
    """(N,) above 1: unlike the training."""
    limits: tuple[float, float]
    """Of the calibration, in nats: what is served lies within."""

    def evidence(self, guard: bool = True) -> Floats:
        """(N,) nats, not clipped; NaN where the node gives no evidence."""
        return np.where(self.strangeness > 1.0, np.nan, self.llr) if guard else self.llr

    def served(self, guard: bool = True) -> Floats:
        """(N,) nats as the node gives them, within the calibration's limits."""
        return np.asarray(np.clip(self.evidence(guard), *self.limits))


def members(bundles: Mapping[str, Path], precision: Precision = "auto") -> tuple[Member, ...]:
    """Read the bundles; a network's name begins with its cue, such as ``depth_light``.

    Raises:
        StudyError: there is none, or a name tells no cue.
        BundleError: a bundle cannot be read, or is not calibrated.
    """
    if not bundles:
        raise StudyError("networks: expected NAME=BUNDLE, found none; name at least one bundle")
    found = []
    for name, folder in bundles.items():
        cue = next((cue for cue in CROP_OF if name.split("_")[0] == cue), None)
        if cue is None:
            raise StudyError(
                f"network {name}: expected a name that begins with {', '.join(CROP_OF)}, such as "
                "depth_light; the name says which crop the network takes"
            )
        bundle = read_bundle(folder)
        found.append(Member(name, cue, bundle, bundle.network(precision)))
    return tuple(found)


def judge(member: Member, store: CropStore, running: Running) -> Judged:
    """Run a network over all rows of a store (N)."""
    options = Options(running.threads, running.precision)
    with open_network(member.network, "openvino", options) as engine:
        line = Calibrated.of(engine)
        kept = _kept(running, member, store)
        values = None if kept is None else _read(kept, len(store))
        if values is None:
            values = _run(engine.infer, store, _looked_at(member))
            if kept is not None:
                _keep(kept, values)
    score, strangeness = values
    return Judged(line.slope * score + line.offset, strangeness, (line.min_llr, line.max_llr))


def _looked_at(member: Member) -> str:
    """Name of the store's pictures that the network takes, as its bundle says."""
    rule = member.bundle.manifest.features
    if rule is None:
        return CROP_OF[member.cue]
    for sight in SIGHTS.values():
        if sight.scales == rule.scales:
            return sight.pictures
    found = ", ".join(f"{scale:g}" for scale in rule.scales)
    raise StudyError(
        f"network {member.name}: expected pictures that this release cuts, found some with sides "
        f"of {found} times the face; get a bundle for this release, or train it anew"
    )


def _run(infer: Any, store: CropStore, crop: str) -> tuple[Floats, Floats]:
    """Mean score and median strangeness of each row's pictures, each (N,), NaN where none."""
    score, strangeness = np.full(len(store), np.nan), np.full(len(store), np.nan)
    for places, images in _pictures(store, crop):
        outputs = infer({"image": images})
        for row in np.unique(places):
            own = places == row
            if all(np.isfinite(values[own]).all() for values in outputs.values()):
                score[row] = np.mean(outputs["score"][own], dtype=np.float64)
                strangeness[row] = np.median(outputs["strangeness"][own])
    return score, strangeness


def _pictures(store: CropStore, crop: str) -> Iterator[tuple[Rows, Values]]:
    """Pictures in batches, each with its row; all pictures of a row are in one batch."""
    rows = np.arange(len(store))
    present = patches_present(store, rows) if crop == "patches" else None
    for start in range(0, len(rows), BATCH):
        places = rows[start : start + BATCH]
        if present is None:
            yield places, store.take(crop, places)
            continue
        kept = present[places]
        if kept.any():
            yield places[np.nonzero(kept)[0]], store.take(crop, places)[kept]


def _kept(running: Running, member: Member, store: CropStore) -> Path | None:
    """Where the scores of these rows are kept: by the network's file and the rows' table."""
    if running.cache is None:
        return None
    key = hashlib.sha256(f"{member.network.sha256} {running.precision} {member.cue}".encode())
    for row in store.rows:
        key.update(json.dumps(asdict(row), sort_keys=True).encode())
    return running.cache / f"{key.hexdigest()}.npy"


def _read(path: Path, rows: int) -> tuple[Floats, Floats] | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return (values[0], values[1]) if values.shape == (2, rows) else None


def _keep(path: Path, values: tuple[Floats, Floats]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("wb") as file:
        np.save(file, np.stack(values))


def combinations(found: Sequence[Member]) -> dict[str, tuple[Member, ...]]:
    """Which networks are fused, by column: depth with patch, and all; the first of each cue."""
    first: dict[str, Member] = {}
    for member in found:
        first.setdefault(member.cue, member)
    made: dict[str, tuple[Member, ...]] = {}
    if all(cue in first for cue in PAIR):
        made["+".join(PAIR)] = tuple(first[cue] for cue in PAIR)
    if len(first) > 1 and set(first) != set(PAIR):
        made[ALL] = tuple(first.values())
    return made


def fused(looks: Mapping[str, Floats], policy: Policy, step: float) -> float:
    """What the graph says after M looks at a face, in nats; NaN where no cue has a value.

    Args:
        looks: (M,) nats by cue, as served; NaN: no evidence.
        policy: the cues' limits and what is correlated.
        step: seconds between two looks.
    """
    ratios = {}
    for cue, values in looks.items():
        limits = policy.cue(cue)
        clipped = np.clip(values, limits.min_llr, limits.max_llr)
        valued = [
            Look(i * step, i * step, float(clipped[i])) for i in np.flatnonzero(~np.isnan(values))
        ]
        if valued:
            ratios[cue] = accumulate(valued, limits)
    return add_up(ratios, policy) if ratios else float("nan")


def as_json(values: Floats) -> list[float | None]:
    """Rounded to 1e-4 nats; None where there is no score."""
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def of_json(values: Sequence[float | None]) -> Floats:
    """The reverse of :func:`as_json`."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
