"""From a training run to a bundle: export, quantise, measure each precision, calibrate, write."""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..engines.bundle import (
    About,
    Bundle,
    Calibration,
    CropRule,
    Manifest,
    Metric,
    Setting,
    Training,
    write_bundle,
)
from ..engines.engine import open_network
from ..engines.network import Network, Options, Precision
from .calibration import Fit, ScoredCrops, fit_calibration
from .crops import CropRow, CropStore, Values
from .evaluation.metrics import Rates, Scores, curve, equal_error, rates_at
from .export import (
    check_parity,
    input_specs,
    output_specs,
    picture_crop,
    rule_of,
    served,
    to_f16,
    to_onnx,
)
from .holdout import Rows, names_text
from .quantisation import to_int8
from .recipe import Recipe, TrainingError, TrainingFailed, recipe_text
from .scoring import Scored, pictures, spread
from .training import Trained
from .weights import ROLE as WEIGHTS
from .weights import save_weights

Role = Literal["f32", "f16", "int8"]

VERSION = "0.1.0"
LICENCE = "Apache-2.0"
NEAR = 0.5
"""Share of what was learned up to which a network may have the calibration of its start."""
MOST_RISE = 0.002
"""Largest rise of the validation's ACER and EER that a lower precision may cost: 0.2 points."""
CALIBRATION_CROPS = 300
"""Crops that show NNCF the range of activations."""
TIMED_PICTURES = 24
CROP_RULES = {
    "face": CropRule(scale=1.5, size=256, alignment="eyes"),
    "context": CropRule(scale=4.0, size=160, alignment="eyes"),
}
"""Patches have none: they are cut in the frame's own pixels. A sight has a rule of its own."""

_PICTURE = re.compile(r"([#@][\d.]+s?)?(~\d+)?$")
"""What a source says of the single picture and of the procedural person made from it."""
_NAMED_SOURCES = 40

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class _Judge:
    """A network's files of every precision, and whom they judge: those it was kept from."""

    trained: Trained
    made: Mapping[str, Network]
    """By precision."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one precision of the network makes of the held-out crops."""

    precision: Precision
    rates: Rates
    """At the threshold of f32's equal error."""
    eer: float
    score: Floats
    """(N,) by row, NaN where a row has no picture."""
    cpu_ms: float
    """CPU time of one picture, one at a time, in milliseconds."""

    @property
    def acer(self) -> float:
        """Mean of BPCER and the worst species' APCER."""
        return (self.rates.worst + self.rates.bpcer) / 2


def make_bundle(
    trained: Trained,
    out: Path | str,
    *,
    files: Sequence[Role] = ("f32", "f16", "int8"),
    quantise_with: Sequence[CropStore] = (),
    folds: Sequence[Trained] = (),
    start: Sequence[Bundle] = (),
    say: Any = print,
) -> Bundle:
    """Export a trained network and write its bundle.

    f32 is always made and held against PyTorch; f16 and int8 go into the bundle only where the
    validation ACER and EER rise by less than 0.2 points. What every precision reached is in the
    metrics. The weights go in as well, for a later training to start from.

    With ``folds`` the held-out crops are theirs, each judged by the network that was kept from its
    person; that measures and calibrates a network of everybody. Each fold's own bundle, with the
    same calibration, is written into its run's folder as ``bundle``: it judges its persons where
    they are to be strangers, as in ``padflow evidence``.

    Args:
        trained: from :func:`padflow.trainers.training.train`.
        out: the bundle's folder.
        files: precisions that the bundle is to hold; those in which the network is not worth
            exporting are left out.
        quantise_with: further stores, such as one of real footage, whose crops show NNCF the range
            of activations beside training crops.
        folds: of :func:`padflow.trainers.cross_fitting.cross_fit`.
        start: whose weights, or their mean, the training started from: the manifest tells what
            those learned from.
        say: takes a line for each precision.

    Where nobody was held out and there are no folds, nothing can be measured. A network that was
    drawn back half-way or more to the one it went on from (``share_of_learned``) has that one's
    calibration then, and f32 only.

    Raises:
        TrainingError: nobody was held out and there is no calibration to take over, an exported
            file differs from the network, or the scores of live crops are no higher than those of
            attacks.
    """
    network = trained.network
    if not folds and not len(trained.split.validation):
        return _near_its_start(trained, out, start)
    files = [role for role in files if role in network.precisions] or ["f32"]
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        folder = Path(place)
        made = _exported(trained, folder, files, quantise_with)
        differences = check_parity(network, made["f32"], _shown(trained, 8))
        judges = [
            _Judge(one, _exported(one, folder / f"fold-{number}", files, quantise_with))
            for number, one in enumerate(folds, 1)
        ] or [_Judge(trained, made)]
        judged = _judged_all(trained, made, judges, say)
        kept = _worth_keeping(judged, files, say)
        fit = _fitted(trained.recipe.name, judges, judged["f32"])
        calibration = Calibration(
            method="logistic", parameters=fit.parameters, fitted_on=_fitted_on(judges, folds)
        )
        metrics = (*_metrics(judged, _told_all(judges)), *_parity(differences), *_history(trained))
        for one in judges if folds else ():
            own = _manifest(one.trained, calibration)
            write_bundle(one.trained.folder / "bundle", own, {"f32": one.made["f32"].path})
        contents = {role: made[role].path for role in kept}
        contents[WEIGHTS] = save_weights(network, folder / f"{trained.recipe.name}-weights.npz")
        manifest = _manifest(trained, calibration, folds, metrics, start)
        return write_bundle(out, manifest, contents)


def staying_calibration(recipe: Recipe, start: Sequence[Bundle]) -> Calibration:
    """The calibration of a network of everybody, with nobody to calibrate on: that of its start.

    Raises:
        TrainingError: it goes on from nothing, from bundles that are calibrated in several ways,
            or too far.
    """
    known = [one.manifest.calibration for one in start]
    stays = known[0] if known and all(one == known[0] for one in known) else None
    if stays is None or recipe.share_of_learned > NEAR:
        raise TrainingError(
            f"{recipe.name}: expected held-out persons to calibrate on, found none; hold some out, "
            f"give the folds that were kept from them, or go on with share_of_learned {NEAR:g} at "
            "most from a bundle whose calibration can stay"
        )
    before = start[0].manifest
    return replace(
        stays,
        fitted_on=f"that of {before.about.name} {before.edition[:12]}, which it went on from and "
        f"which had not seen {stays.fitted_on}",
    )


def _near_its_start(trained: Trained, out: Path | str, start: Sequence[Bundle]) -> Bundle:
    """The bundle of a network of everybody, with the calibration of those that it is near to."""
    calibration = staying_calibration(trained.recipe, start)
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        folder = Path(place)
        made = _exported(trained, folder, ["f32"], ())["f32"]
        metrics = _parity(check_parity(trained.network, made, _shown(trained, 8)))
        weights = save_weights(trained.network, folder / f"{trained.recipe.name}-weights.npz")
        manifest = _manifest(trained, calibration, (), tuple(metrics), start)
        return write_bundle(out, manifest, {"f32": made.path, WEIGHTS: weights})


def _exported(
    trained: Trained, folder: Path, files: Sequence[Role], quantise_with: Sequence[CropStore]
) -> dict[str, Network]:
    """The network's files by precision, f32 first, written into a folder."""
    name = trained.recipe.name
    folder.mkdir(exist_ok=True)
    exported = to_onnx(trained.network, folder / f"{name}.onnx")
    made: dict[str, Network] = {"f32": exported}
    if "f16" in files:
        made["f16"] = to_f16(trained.network, exported.path, folder / f"{name}-f16.onnx")
    if "int8" in files:
        range_of = _showing_range(trained, quantise_with)
        path = folder / f"{name}-int8.onnx"
        made["int8"] = to_int8(trained.network, exported.path, path, range_of)
    return made


def score_with(
    network: Network, store: CropStore, rows: Rows, crop: str, precision: Precision = "f32"
) -> Scored:
    """Run an exported network over rows on OpenVINO."""
    takes = network.inputs[0].name
    places, scores, embeddings = [], [], []
    with open_network(network, "openvino", Options(precision=precision)) as engine:
        for place, images in pictures(store, rows, crop, size=8):
            found = engine.infer({takes: images})
            places.append(place)
            scores.append(found["score"])
            embeddings.append(found["embedding"])
    return Scored(np.concatenate(places), np.concatenate(scores), np.concatenate(embeddings))


def _crops(store: CropStore, rows: Rows, crop: str, most: int) -> Values:
    """Up to ``most`` pictures, evenly spread over the rows."""
    found = [images for _, images in pictures(store, spread(store, rows, most), crop)]
    if not found:
        raise TrainingError(f"{store.folders[0]}: expected rows with {crop}, found none")
    return np.concatenate(found)[:most]


def _showing_range(trained: Trained, others: Sequence[CropStore]) -> Values:
    each = CALIBRATION_CROPS // (1 + len(others))
    crop = trained.network.crop
    parts = [_crops(trained.store, trained.split.train, crop, each)]
    parts += [_crops(store, np.arange(len(store)), crop, each) for store in others]
    return np.concatenate(parts)


def _shown(trained: Trained, most: int, crop: str | None = None) -> Values:
    """Some held-out pictures, or, where nobody is held out, some that were learned from."""
    rows = trained.split.validation
    rows = rows if len(rows) else trained.split.train
    return _crops(trained.store, rows, crop or trained.network.crop, most)


def _judged_all(
    trained: Trained, made: Mapping[str, Network], judges: Sequence[_Judge], say: Any
) -> dict[str, Judged]:
    """Every precision, f32 first; bf16 is how the f32 file runs on a processor that can."""
    wanted: list[tuple[Precision, str]] = [("f32", "f32"), ("bf16", "f32")]
    wanted += [(role, role) for role in ("f16", "int8") if role in made]
    images = _shown(trained, TIMED_PICTURES, picture_crop(trained.network))
    judged: dict[str, Judged] = {}
    threshold: float | None = None
    for precision, role in wanted:
        cpu_ms = _cpu_ms(served(trained.network, made[role]), images, precision)
        found = _judged(judges, role, precision, threshold, cpu_ms)
        threshold = found.rates.threshold
        judged[precision] = found
        say(
            f"{precision}: ACER {100 * found.acer:.2f} %, EER {100 * found.eer:.2f} %, "
            f"{found.cpu_ms:.2f} CPU-ms a picture"
        )
    return judged


def _judged(
    judges: Sequence[_Judge],
    role: str,
    precision: Precision,
    threshold: float | None,
    cpu_ms: float,
) -> Judged:
    score = np.concatenate([_scores(one, role, precision) for one in judges])
    table = _held_out(judges)
    scores = Scores(
        score.astype(np.float64),
        np.array([row.label == "live" for row in table], bool),
        tuple(row.species for row in table),
        tuple(row.person for row in table),
    )
    eer, at = equal_error(curve(scores))
    rates = rates_at(scores, at if threshold is None else threshold)
    return Judged(precision, rates, eer, score, cpu_ms)


def _held_out(judges: Sequence[_Judge]) -> list[CropRow]:
    """The crops that they judge, in the order of :attr:`Judged.score`."""
    return [one.trained.store.rows[i] for one in judges for i in one.trained.split.validation]


def _scores(judge: _Judge, role: str, precision: Precision) -> Floats:
    """Scores (N,) of a network's held-out crops, NaN where a crop has no picture."""
    trained = judge.trained
    rows = trained.split.validation
    scored = score_with(judge.made[role], trained.store, rows, trained.network.crop, precision)
    return scored.by_row(len(rows))


def _cpu_ms(network: Network, images: Values, precision: Precision) -> float:
    with open_network(network, "openvino", Options(precision=precision)) as engine:
        engine.infer({"image": images[:1]})
        times = []
        for image in images:
            began = time.process_time()
            engine.infer({"image": image[None]})
            times.append(time.process_time() - began)
    return float(1000 * np.median(times))


def _worth_keeping(judged: Mapping[str, Judged], files: Sequence[Role], say: Any) -> list[str]:
    kept: list[str] = []
    for role in files:
        one, full = judged[role], judged["f32"]
        rise = max(one.acer - full.acer, one.eer - full.eer)
        if rise < MOST_RISE:
            kept.append(role)
        else:
            say(f"{role}: left out: its ACER or EER is {100 * rise:.2f} points above that of f32")
    return kept or ["f32"]


def _fitted(name: str, judges: Sequence[_Judge], judged: Judged) -> Fit:
    known = np.isfinite(judged.score)
    table = [row for row, there in zip(_held_out(judges), known, strict=True) if there]
    fit = fit_calibration(
        ScoredCrops(
            judged.score[known].astype(np.float64),
            np.array([row.label == "live" for row in table], bool),
            [row.person for row in table],
            [row.clip for row in table],
            [row.species for row in table],
        )
    )
    if not fit.slope > 0:
        raise TrainingFailed(
            f"{name}: live crops of held-out persons score no higher than attacks: "
            "there is no evidence in this network; train longer or on other data"
        )
    return fit


def _fitted_on(judges: Sequence[_Judge], folds: Sequence[Trained]) -> str:
    how = f", each by one of {len(folds)} networks that had not seen them" if folds else ""
    return f"held-out persons and media{how}: {_told_all(judges)}"


def _told_all(judges: Sequence[_Judge]) -> str:
    return "; ".join(_told(one.trained.store, one.trained.split.validation) for one in judges)


def _manifest(
    trained: Trained,
    calibration: Calibration,
    folds: Sequence[Trained] = (),
    metrics: tuple[Metric, ...] = (),
    start: Sequence[Bundle] = (),
) -> Manifest:
    recipe, network = trained.recipe, trained.network
    settings: dict[str, Setting] = {
        "minutes": round(trained.minutes, 2),
        "best_epoch": int(trained.best["epoch"]),
        "held_out_persons": trained.split.persons,
        "held_out_media": trained.split.media,
    }
    if folds:
        settings["minutes"] = round(trained.minutes + sum(one.minutes for one in folds), 2)
        settings["folds"] = tuple(names_text(one.split.persons) for one in folds)
    data: tuple[str, ...] = (_told(trained.store, trained.split.train),)
    if start:
        known = [one.manifest for one in start]
        names = [f"{before.about.name} {before.edition[:12]}" for before in known]
        settings["started_from"] = names[0] if len(names) == 1 else tuple(names)
        told = dict.fromkeys(
            f"{before.about.name}, before: {each}"
            for before in known
            for each in before.training.data
        )
        data = (*data, *told)
    return Manifest(
        about=About(
            name=recipe.name.replace(" ", "_").lower(),
            version=VERSION,
            task=recipe.task,
            licence=LICENCE,
        ),
        inputs=input_specs(network),
        outputs=output_specs(network),
        training=Training(
            data=data,
            recipe=recipe_text(recipe),
            seed=recipe.seed,
            settings=settings,
        ),
        metrics=metrics,
        crop=CROP_RULES.get(network.crop),
        features=rule_of(network),
        calibration=calibration,
        files={},
    )


def _told(store: CropStore, rows: Rows) -> str:
    """What crops the rows are, in one sentence without a path."""
    table = [store.rows[i] for i in rows]
    species = Counter(row.species for row in table)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(species.items()))
    sources = _shortened({_PICTURE.sub("", row.source) for row in table if row.source})
    stores = ", ".join(folder.name for folder in store.folders)
    persons = len({row.person for row in table})
    media = len({row.medium for row in table if row.medium})
    return (
        f"{len(table)} crops ({counts}) of {persons} persons and {media} media from {stores}"
        f"; sources: {sources or 'not told'}"
    )


def _shortened(names: Iterable[str]) -> str:
    """Names in order; of many, only the first: a manifest repeats them with every metric."""
    found = sorted(names)
    rest = len(found) - _NAMED_SOURCES
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(found[:_NAMED_SOURCES]) + more


def _metrics(judged: Mapping[str, Judged], data: str) -> list[Metric]:
    found = []
    for name, one in judged.items():
        method = "by crop, OpenVINO, at the threshold of f32's equal error"
        values = {
            "acer": (one.acer, method),
            "bpcer": (one.rates.bpcer, method),
            **{f"apcer_{s}": (float(v), method) for s, v in one.rates.apcer.items()},
            "eer": (one.eer, "by crop, OpenVINO, all attacks pooled"),
        }
        found += [
            Metric(name=f"{key}_{name}", value=value, unit="1", data=data, method=how)
            for key, (value, how) in values.items()
        ]
        found.append(
            Metric(
                name=f"cpu_ms_{name}",
                value=one.cpu_ms,
                unit="ms",
                data=f"{TIMED_PICTURES} held-out pictures",
                method="median CPU time of one picture, OpenVINO, one thread, batch 1",
            )
        )
    return found


def _parity(differences: Mapping[str, float]) -> list[Metric]:
    return [
        Metric(
            name=f"difference_{backend}",
            value=value,
            unit="1",
            data="8 held-out pictures",
            method="largest difference of any output from PyTorch, relative above 1, f32",
        )
        for backend, value in differences.items()
    ]


def _history(trained: Trained) -> list[Metric]:
    """What the extra validation stores said of the epoch that was chosen."""
    chosen = trained.recipe.select_by
    found = []
    for store, rates in trained.best.items():
        if not isinstance(rates, Mapping) or store == "validation":
            continue
        how = "which chose the epoch" if store == chosen else "which chose nothing"
        found += [
            Metric(
                name=f"{rate}_{store}",
                value=rates[rate],
                unit="1",
                data=f"extra validation store {store}, {how}",
                method="PyTorch, averaged weights of the best epoch",
            )
            for rate in ("auc", "eer", "clip_auc", "clip_eer")
            if rate in rates
        ]
    return found
