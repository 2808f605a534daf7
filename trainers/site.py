"""Site adaptation: shipped networks, trained on for one user's own camera, light and people.

From live footage of the site: who is in it, attacks on those people and re-shots of them by the
same simulated cameras, a short training that starts from a bundle's weights, weights half-way
between these and what was learned, a calibration on people who were not learned from, and a report
of what it brought.

Frames of the site itself are never learned from: beside simulated attacks they would teach what
the simulation does to pictures. The held-out people's frames serve to check and to calibrate.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ..engines.bundle import Bundle, Calibration, Metric, bundle_folders, read_bundle, write_bundle
from ..engines.whole_file import write_whole
from ..graph.machine import processors
from .attacks.people import FaceFinder, portrait_pictures
from .bundling import Role, make_bundle
from .calibration import Fit, ScoredCrops, fit_calibration
from .crops import CropStore, open_crops, write_crops
from .evaluation.intervals import wilson
from .holdout import Rows
from .making import StoreOrder, make_store
from .networks import CropNetwork
from .recipe import HoldOut, Recipe, TrainingError, TrainingFailed, load_recipe, parse_recipe
from .scoring import measures, pictures
from .site_report import site_page
from .sources import Say, source_files
from .training import Trained, build, train, use_threads
from .visits import SitePeople, site_people
from .weights import bundle_weights, use_weights

BASES = (("views", 0.0), ("depth_light", 40.0), ("patch_light", 60.0))
"""Shipped networks that are adapted, and from how many minutes on each. On two cores views needs
all of 25 minutes that making the crops leaves, since it first sees thousands of crops through a
third-party network; four minutes brought depth and patch nothing (docs/TRAINING.md)."""
REPORT, PAGE = "site.json", "site.html"
HELD_MEDIA = 0.33
"""Share of the printers, screens and masks that only the check sees."""
_RATE = 0.3
"""Share of the recipe's learning rate: the network knows most of it already."""
_SHARE = 0.5
"""How far from the base's weights to those that were learned. A door shows few people: what is
learned of them alone takes their faces for living whatever shows them, and forgets what the base
knows of others. Half-way both are told better than at either end (docs/TRAINING.md)."""
_LOOKING, _MAKING_HELD, _MAKING = 0.15, 0.10, 0.35
"""Shares of the time, the last one for the crops to learn from."""
_BUNDLING = 50.0
"""Seconds that are kept for the export of a network, its calibration and its bundle, but never
more than a third of what is left."""
_MOST_ROWS = 1600, 6400
"""Rows to check on and to learn from at most: 0.6 and 2.5 GB. Time that is left goes to learning.
"""
_STORES = "stores.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """What may be asked of a site adaptation."""

    minutes: float = 25.0
    """For all of it; a little more where the machine is too slow for the least there must be."""
    bases: Sequence[Path] = ()
    """Bundles to start from; none: the shipped ones for which there is time."""
    people: Mapping[str, str] = field(default_factory=dict)
    """Who is in which footage; see :func:`~.sources.read_people`."""
    data: Sequence[Path] = ()
    """Further crop stores to learn from, such as those of the base: less is forgotten."""
    files: Sequence[Role] = ()
    """Precisions of the bundles; none: those of the base."""
    workers: int = 0
    """Processes that make crops, and threads that learn; 0: as many as cores."""
    seed: int = 0
    least: tuple[int, int] = (64, 96)
    """Rows to check on and to learn from that are made whatever the time."""
    resume: bool = False
    """Go on with what the working folder holds."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the networks learn from and are checked on."""

    learn: Path
    check: Path
    footage: Path
    """Crop store of the held-out people's own frames, live only."""
    held: tuple[str, ...]
    """Held-out people."""
    told: Mapping[str, Any]
    """For the report."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a network says of rows, NaN where a row has no picture."""

    score: np.ndarray[Any, np.dtype[np.float64]]
    strangeness: np.ndarray[Any, np.dtype[np.float64]]


def adapt(
    live: Sequence[Path],
    out: Path,
    work: Path,
    options: SiteOptions | None = None,
    say: Say = print,
) -> list[Bundle]:
    """Adapt networks to a site; writes a bundle for each below ``out``, and a report.

    Args:
        live: Videos, pictures, or folders of them, of living people before the site's camera.
        out: Folder of the bundles: ``<base>_site`` each.
        work: Folder for crops and training runs.
        options: What may be asked.
        say: Takes lines of progress.

    Raises:
        EngineError: footage, a base or the stores cannot be used; says which and what to do.
    """
    options = options or SiteOptions()
    if options.workers:
        use_threads(options.workers)
    began = time.time()
    end = began + 60 * options.minutes
    bases = _bases(options)
    open_crops(*options.data)  # told before minutes of work
    files = source_files(live)
    work.mkdir(parents=True, exist_ok=True)
    prepared = _prepared(files, work, options, end, say)
    bundles: list[Bundle] = []
    results: list[dict[str, Any]] = []
    for index, base in enumerate(bases):
        left = (end - time.time()) / (len(bases) - index)
        say(f"{base.manifest.about.name}: {max(left, 0) / 60:.1f} minutes")
        bundle, result = _adapted(base, prepared, out, work, options, left, say)
        bundles.append(bundle)
        results.append(result)
    report = {
        "minutes": round((time.time() - began) / 60, 2),
        "asked_minutes": options.minutes,
        **prepared.told,
        "networks": results,
    }
    _write(out / REPORT, json.dumps(report, indent=1, allow_nan=False) + "\n")
    _write(out / PAGE, site_page(report))
    return bundles


def _bases(options: SiteOptions) -> list[Bundle]:
    if options.bases:
        found = [read_bundle(folder) for folder in options.bases]
    else:
        shipped = bundle_folders()
        found = [
            read_bundle(shipped[name])
            for name, minutes in BASES
            if name in shipped and options.minutes >= minutes
        ]
    if not found:
        raise TrainingError(
            f"site: expected one of the bundles {', '.join(name for name, _ in BASES)} to start "
            "from, found none; name one with --base, or make one with padflow train"
        )
    for bundle in found:
        bundle_weights(bundle)  # told before minutes of work
        _base_recipe(bundle)
    return found


def _base_recipe(base: Bundle) -> Recipe:
    content = yaml.safe_load(base.manifest.training.recipe)
    if not isinstance(content, dict):
        raise TrainingError(
            f"bundle {base.folder}: expected a whole recipe in its manifest, found "
            f"{base.manifest.training.recipe!r:.40}; make the bundle anew with padflow train"
        )
    return parse_recipe(content, f"of bundle {base.folder.name}")


def _prepared(
    files: Sequence[Path], work: Path, options: SiteOptions, end: float, say: Say
) -> Prepared:
    """Stores to learn from and to check on; those of an earlier run where it goes on."""
    record = work / _STORES
    if record.is_file() and options.resume:
        content = json.loads(record.read_text(encoding="utf-8"))
        say("going on with the crops of the run before")
        return _folders(work, content["held"], content["told"])
    for folder in ("learn", "check", "footage"):
        shutil.rmtree(work / folder, ignore_errors=True)
    left = end - time.time()
    with FaceFinder() as finder:
        try:
            people = site_people(finder, files, options.people, time.time() + _LOOKING * left, say)
        except ValueError as error:
            raise TrainingError(
                f"live footage: expected two pictures with a face or more, found {error}; give "
                "footage in which faces are 24 pixels and larger"
            ) from error
        portraits = portrait_pictures(finder)
    _make(people, portraits, work, options, left, say)
    write_crops(work / "footage", (item for person in people.check for item in person.crops))
    told = _told(people, work)
    held = sorted(person.name for person in people.check)
    _write(record, json.dumps({"held": held, "told": told}) + "\n")
    return _folders(work, held, told)


def _folders(work: Path, held: Sequence[str], told: Mapping[str, Any]) -> Prepared:
    return Prepared(work / "learn", work / "check", work / "footage", tuple(held), told)


def _make(
    people: SitePeople,
    portraits: Sequence[Any],
    work: Path,
    options: SiteOptions,
    total: float,
    say: Say,
) -> None:
    """The two stores; nobody of one side lends features or holds media on the other."""
    workers = options.workers or processors()
    learn = [*(p for person in people.learn for p in person.pictures), *portraits]
    check = [p for person in people.check for p in person.pictures]
    plans = (
        ("check", check, _MAKING_HELD, 0, 1),
        ("learn", learn, _MAKING, 1, 1 + workers),
    )
    for name, shown, share, side, seed in plans:
        seconds = share * total
        least, most = options.least[side], _MOST_ROWS[side]
        order = StoreOrder(
            people=shown,
            rows=max(least, most),
            seed=1000 * options.seed + seed,
            rows_per_seed=-(-max(least, most) // workers),
            identities=int(np.clip(seconds / 4, 6, 240)),
            until=time.time() + seconds,
            least=-(-least // workers),
        )
        store = make_store(order, work / name, workers=workers)
        attacks = int((~store.live).sum())
        say(f"crops to {name}: {len(store) - attacks} live, {attacks} attacks")


def _told(people: SitePeople, work: Path) -> dict[str, Any]:
    learn, check = open_crops(work / "learn"), open_crops(work / "check")
    return {
        "note": people.note,
        "persons_learned_from": len(people.learn),
        "persons_checked_on": len(people.check),
        "crops_learned_from": len(learn),
        "crops_checked_on": len(check),
        "footage_frames_checked_on": sum(len(person.crops) for person in people.check),
    }


def _adapted(
    base: Bundle,
    prepared: Prepared,
    out: Path,
    work: Path,
    options: SiteOptions,
    seconds: float,
    say: Say,
) -> tuple[Bundle, dict[str, Any]]:
    """One network: train on, compare, calibrate, write."""
    run = work / f"run-{base.manifest.about.name}"
    learning = seconds - min(_BUNDLING, seconds / 3)
    recipe = _site_recipe(base, prepared, options, max(learning, 1.0) / 60, run)
    store = open_crops(prepared.learn, prepared.check, *options.data)
    weights = bundle_weights(base)
    trained = train(
        recipe, store, run, resume=options.resume, tensorboard=False, start=weights, say=say
    )
    before = build(_base_recipe(base))
    use_weights(before, weights)
    before.eval()
    chosen, compared = _better(trained, before, open_crops(prepared.footage))
    say(compared["told"])
    roles = options.files or [r for r in ("f32", "f16", "int8") if r in base.manifest.files]
    with tempfile.TemporaryDirectory(prefix="padflow-site-") as folder:
        made = make_bundle(chosen, Path(folder) / recipe.name, files=roles, say=say)
        fit, own = _calibrated(chosen, before, base, open_crops(prepared.footage))
        rates = _site_rates(chosen.network, before, fit, base, open_crops(prepared.footage))
        bundle = _written(made, base, fit, rates, compared["kept"], prepared, out)
    result = {
        "name": bundle.manifest.about.name,
        "version": bundle.manifest.about.version,
        "base": f"{base.manifest.about.name} {base.manifest.about.version}",
        "minutes_of_learning": round(trained.minutes, 2),
        "files": sorted(bundle.manifest.files),
        **compared,
        "footage": rates,
        "calibration": {**fit.parameters, "live": fit.live, "attacks": fit.attacks, **own},
    }
    return bundle, result


def _site_recipe(
    base: Bundle, prepared: Prepared, options: SiteOptions, minutes: float, run: Path
) -> Recipe:
    if options.resume and (run / "checkpoint.pt").is_file():
        # Its time was set when it began.
        return replace(load_recipe(run / "recipe.yaml"), share_of_learned=_SHARE)
    recipe = _base_recipe(base)
    compiles = recipe.fuse_colour and minutes > 3 and shutil.which("g++") is not None
    return replace(
        recipe,
        name=f"{recipe.name}_site",
        hold_out=HoldOut(persons=prepared.held, share=HELD_MEDIA),
        leave_out_sources=(),
        seed=options.seed,
        epochs=1000,
        steps_per_epoch=None,
        max_minutes=minutes,
        learning_rate=_RATE * recipe.learning_rate,
        average=min(recipe.average, 0.99),
        share_of_learned=_SHARE,
        fuse_colour=compiles,
        select_by="validation",
    )


def _better(
    trained: Trained, before: CropNetwork, footage: CropStore
) -> tuple[Trained, dict[str, Any]]:
    """The trained network, or the base where learning made it worse on the held-out people."""
    rows, store = trained.split.validation, trained.store
    found = {}
    for name, network in (("before", before), ("after", trained.network)):
        rates = measures(store, rows, judged(network, store, rows).score.astype(np.float32))
        found[name] = {rate: rates[rate] for rate in ("auc", "eer", "acer", "bpcer")}
    worse = found["after"]["eer"] > found["before"]["eer"]
    kept = "before" if worse else "after"
    told = (
        f"held-out people: EER {100 * found['before']['eer']:.1f} % before, "
        f"{100 * found['after']['eer']:.1f} % after"
    )
    if worse:
        trained = replace(trained, network=before)
        told += ": the base's weights are kept"
    return trained, {"simulated": found, "kept": kept, "told": told}


def judged(network: CropNetwork, store: CropStore, rows: Rows) -> Judgement:
    """Mean score and strangeness of each row of a store, by PyTorch.

    Args:
        network: In evaluation mode, on the CPU.
        store: The crops.
        rows: (N,) which of them.
    """
    total = np.zeros((2, len(rows)))
    count = np.zeros(len(rows))
    with torch.inference_mode():
        for place, images in pictures(store, rows, network.crop):
            found = network(torch.from_numpy(images))
            np.add.at(total[0], place, found.score.float().numpy())
            np.add.at(total[1], place, found.strangeness.float().numpy())
            np.add.at(count, place, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Judgement(total[0] / count, total[1] / count)


def _calibrated(
    trained: Trained, before: CropNetwork, base: Bundle, footage: CropStore
) -> tuple[Fit, dict[str, float]]:
    """Fit on the held-out people, simulated and as filmed, and mix with the base's calibration."""
    parts = [(trained.store, trained.split.validation), (footage, np.arange(len(footage)))]
    score = np.concatenate([judged(trained.network, *part).score for part in parts])
    table = [store.rows[i] for store, rows in parts for i in rows]
    known = np.isfinite(score)
    table = [row for row, there in zip(table, known, strict=True) if there]
    fit = fit_calibration(
        ScoredCrops(
            score[known],
            np.array([row.label == "live" for row in table], bool),
            [row.person for row in table],
            [row.clip for row in table],
            [row.species for row in table],
        )
    )
    if not fit.slope > 0:
        raise TrainingFailed(
            f"{trained.recipe.name}: live crops of held-out people score no higher than attacks: "
            "there is no evidence in this network; give more minutes or more footage"
        )
    if base.manifest.calibration is None or base.manifest.calibration.method != "logistic":
        return fit, {"share_of_site": 1.0}
    as_before = np.concatenate([judged(before, *part).score for part in parts])[known]
    return mixed(fit, base.manifest.calibration.parameters, score[known], as_before)


def mixed(
    fit: Fit,
    base: Mapping[str, float],
    score: np.ndarray[Any, np.dtype[np.float64]],
    as_before: np.ndarray[Any, np.dtype[np.float64]],
) -> tuple[Fit, dict[str, float]]:
    """A site's calibration and its base's, each by the number of presentations it rests on.

    The base's ratios are carried over to the adapted network's scores by least squares on the same
    crops. The bounds follow the mixed number of presentations: never above the better of the two.

    Args:
        fit: On the site's held-out crops.
        base: Parameters of the base's bundle.
        score: (N,) of the adapted network on some crops.
        as_before: (N,) of the base on them.

    Returns:
        The mixture, and the share that the site has in it.
    """
    ratio = base["slope"] * as_before + base["offset"]
    spread = score - score.mean()
    slope = float((spread * ratio).sum() / max(float((spread**2).sum()), 1e-12))
    live, attacks = float(np.expm1(-base["min_llr"])), float(np.expm1(base["max_llr"]))
    ours, theirs = min(fit.live, fit.attacks), max(min(live, attacks), 0.0)
    if slope <= 0 or ours + theirs <= 0:
        return fit, {"share_of_site": 1.0}
    share = ours / (ours + theirs)
    offset = float(ratio.mean() - slope * score.mean())
    live = share * fit.live + (1 - share) * live
    attacks = share * fit.attacks + (1 - share) * attacks
    found = Fit(
        share * fit.slope + (1 - share) * slope,
        share * fit.offset + (1 - share) * offset,
        -float(np.log1p(live)),
        float(np.log1p(attacks)),
        live,
        attacks,
    )
    return found, {"share_of_site": share}


def _site_rates(
    network: CropNetwork, before: CropNetwork, fit: Fit, base: Bundle, footage: CropStore
) -> dict[str, Any]:
    """Real frames of the held-out people that were called attacks, and those called strange."""
    rows = np.arange(len(footage))
    now, then = judged(network, footage, rows), judged(before, footage, rows)
    known = np.isfinite(now.score)
    found: dict[str, Any] = {"frames": int(known.sum())}
    if not known.any():
        return found
    if base.manifest.calibration is not None:
        parameters = base.manifest.calibration.parameters
        ratio = parameters["slope"] * then.score[known] + parameters["offset"]
        found["bpcer_before"] = float((ratio < 0).mean())
    found |= {
        "bpcer_after": float((fit.llr(now.score[known]) < 0).mean()),
        "strange_before": float((then.strangeness[known] > 1).mean()),
        "strange_after": float((now.strangeness[known] > 1).mean()),
    }
    return found


def _written(
    made: Bundle,
    base: Bundle,
    fit: Fit,
    rates: Mapping[str, Any],
    kept: str,
    prepared: Prepared,
    out: Path,
) -> Bundle:
    about = replace(
        made.manifest.about,
        name=f"{base.manifest.about.name}_site",
        version=_version(base, out),
        licence=base.manifest.about.licence,
    )
    origin = f"{base.manifest.about.name} {base.manifest.about.version}"
    settings: dict[str, Any] = {
        "base": origin,
        "kept": "base" if kept == "before" else "learned",
        "share_of_learned": 0.0 if kept == "before" else _SHARE,
    }
    training = replace(
        made.manifest.training, settings={**made.manifest.training.settings, **settings}
    )
    manifest = replace(
        made.manifest,
        about=about,
        training=training,
        calibration=Calibration(
            method="logistic",
            parameters=fit.parameters,
            fitted_on=f"{len(prepared.held)} held-out people of the site, simulated and filmed, "
            f"mixed with the calibration of {origin}",
        ),
        metrics=(*made.manifest.metrics, *_metrics(rates)),
        files={},
    )
    files = {role: made.folder / file.path for role, file in made.manifest.files.items()}
    return write_bundle(out / about.name, manifest, files)


def _version(base: Bundle, out: Path) -> str:
    """The base's, with the last number one above that of an earlier adaptation."""
    folder = out / f"{base.manifest.about.name}_site"
    earlier = read_bundle(folder) if (folder / "bundle.json").is_file() else base
    major, minor, patch = earlier.manifest.about.version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def _metrics(rates: Mapping[str, Any]) -> list[Metric]:
    frames = rates["frames"]
    return [
        Metric(
            name=f"site_{name}",
            value=value,
            unit="1",
            data=f"{frames} frames of the site's held-out people, as filmed",
            method="PyTorch, by frame; bpcer: ratio below 0; strange: strangeness above 1; 95 % "
            "Wilson interval that takes frames as independent",
            interval=wilson(value * frames, frames),
        )
        for name, value in rates.items()
        if name != "frames"
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
