"""``padflow train``: from crops to a calibrated bundle; ``padflow train site``: from footage."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..exits import Exit, UsageError
from .train_motion import KINDS, run_on_sequences
from .train_site import add_site_arguments, run_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...engines.bundle import Bundle, Training
    from ...trainers.crops import CropStore
    from ...trainers.recipe import Recipe

FUSION = "fusion"
"""Kind of a recipe that learns what cues are worth together, from padflow evidence."""
PULSE = "pulse"
"""Kind of a recipe that draws its own data and makes the pulse network."""
SITE = "site"
"""In the place of a recipe: adapt to a site."""
FILES: Final = ("f32", "f16", "int8")
MISSING = (
    "padflow train needs {name}, which is not installed; install the extra: "
    "pip install 'padflow[train]'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, data, output, and what may be changed of the recipe."""
    parser.add_argument(
        "recipe",
        help="name of a shipped recipe, e.g. depth_light or pulse_net (which needs no data), or a "
        "YAML file, or the word site",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="crop store, or sequence store for motion_depth and pulse_depth; several times to "
        "learn from several",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="the bundle's folder"
    )
    parser.add_argument(
        "--validate",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a crop store, such as one of real attacks, that every epoch is also measured on",
    )
    parser.add_argument(
        "--run",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="checkpoints, history and logs (default: OUT with .run behind it)",
    )
    parser.add_argument(
        "--hold-out",
        nargs="+",
        metavar="PERSON",
        help="people to validate and calibrate on (default: a fifth, drawn by name)",
    )
    parser.add_argument(
        "--folds",
        nargs="+",
        metavar="PERSON,PERSON",
        help="cross-fit: the network learns from everybody, and one more for each of these groups, "
        "kept from its people, calibrates it on them (their bundles: RUN/fold-1/bundle, ...); "
        "a name that holds a comma stands in quotation marks: '\"Doe, Ann\",P2'",
    )
    parser.add_argument(
        "--hold-out-cameras",
        nargs="+",
        metavar="CAMERA",
        help="cameras whose crops are not trained on, for padflow study synthetic",
    )
    parser.add_argument(
        "--start",
        nargs="+",
        type=Path,
        default=[],
        metavar="BUNDLE",
        help="begin with the weights of this bundle, or the mean of several bundles' weights, "
        "instead of random ones; media and cameras that it was kept from stay held out, unless the "
        "recipe names some",
    )
    parser.add_argument(
        "--calibrate-only",
        action="store_true",
        help="keep the weights of --start as they are; calibrate them on the people of --hold-out "
        "and the media that they were learned without",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="Ray Train workers")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--max-minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument(
        "--files",
        nargs="+",
        choices=("f32", "f16", "int8"),
        help="precisions of the bundle; one that costs accuracy is left out (default: all)",
    )
    add_site_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, export, calibrate, write the bundle."""
    _check_out(args)
    folder = args.folder or args.out.with_name(f"{args.out.name}.run")
    _check(args)
    from ...engines.locks import sole_writer

    with sole_writer(folder):
        _check_new(args, folder)
        return _make(args, folder)


def _make(args: argparse.Namespace, folder: Path) -> int:
    try:
        if args.recipe == SITE:
            return run_site(args, folder)
        from ...trainers.recipe import NETWORK, recipe_kind

        kind = recipe_kind(args.recipe)
        if kind == FUSION:
            return _run_fusion(args)
        if kind == PULSE:
            return _run_pulse(args, folder)
        if kind in KINDS:
            return run_on_sequences(args, folder, kind)
        if kind != NETWORK:
            raise UsageError(
                f"recipe {args.recipe}: kind: expected {NETWORK}, {FUSION}, {PULSE} or "
                f"{' or '.join(KINDS)}, found {kind!r}; correct it or leave it out"
            )
        from ...engines.bundle import read_bundle
        from ...trainers.bundling import make_bundle

        bases = [read_bundle(path) for path in args.start]
        if args.folds:
            trained, folds = _cross_fitted(args, folder)
        else:
            trained, folds = _trained(args, folder, bases), ()
    except ModuleNotFoundError as error:
        raise UsageError(MISSING.format(name=error.name)) from error
    from ...trainers.crops import open_crops

    extra = [open_crops(path) for path in args.validate]
    bundle = make_bundle(
        trained,
        args.out,
        files=args.files or FILES,
        quantise_with=extra,
        folds=folds,
        start=bases,
    )
    _summary(trained, bundle)
    return Exit.DONE


def _run_fusion(args: argparse.Namespace) -> int:
    from ...trainers.evidence import read_folder
    from ...trainers.fusion import watched
    from ...trainers.fusion_bundle import load_fusion_recipe, make_fusion_bundle

    if unused := [f"--{name}" for name in _NOT_OF_FUSION if _given(args, name)]:
        raise UsageError(
            f"{unused[0]}: expected none with {args.recipe}, which learns from all recordings and "
            "judges each person by what the others' teach; leave it out"
        )
    changes = {} if args.seed is None else {"seed": args.seed}
    recipe = load_fusion_recipe(args.recipe, **changes)
    seen = watched(read_folder(*args.data))
    names = [path.name for path in args.data]
    bundle, learned = make_fusion_bundle(seen, recipe, names, args.out)
    for cue, worth in learned.fusion.cues.items():
        print(
            f"{cue:12s} weight {worth.weight:.2f}  rho {worth.rho:.2f}  shared {worth.shared:.2f}"
        )
    for metric in bundle.manifest.metrics:
        print(f"{metric.name:16s} {100 * metric.value:.1f} % of {metric.data}")
    print(
        f"{bundle.folder}: from {learned.fusion.min_llr:.2f} to {learned.fusion.max_llr:.2f} nats"
    )
    tables = {
        "LIVE at, by APCER": learned.fusion.live_at,
        "SPOOF at, by BPCER": learned.fusion.spoof_at,
    }
    for name, table in tables.items():
        points = ", ".join(f"{100 * rate:g} %: {at:+.2f}" for rate, at in table.items())
        print(f"{name}: {points or 'by the bounds'}")
    return Exit.DONE


def _check_out(args: argparse.Namespace) -> None:
    """Told before hours of training: what the bundle could not be written over after them."""
    from ...engines.bundle import MANIFEST

    taken = args.recipe != SITE and args.out.exists() and not (args.out / MANIFEST).is_file()
    if taken or not args.out.name:
        raise UsageError(
            f"--out {args.out}: expected a folder that is not there yet, or a bundle to replace, "
            "found something else; name another"
        )


def _check(args: argparse.Namespace) -> None:
    for name in ("workers", "epochs", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: expected 1 or more, found {value}")
    from ...trainers.recipe import recipe_kind

    drawn = args.recipe != SITE and recipe_kind(args.recipe) == PULSE
    if args.recipe != SITE and not args.data and not drawn:
        raise UsageError("--data: expected a crop store to learn from, found none; give --data DIR")
    if drawn and (unused := [f"--{name}" for name in _OF_CROPS if _given(args, name)]):
        raise UsageError(
            f"{unused[0]}: expected none with {args.recipe}, whose clips are drawn; leave it out"
        )
    if args.recipe == SITE and (args.hold_out or args.hold_out_cameras):
        raise UsageError("--hold-out: expected none with train site, which parts the people itself")
    if args.folds:
        _check_folds(args)
    if args.calibrate_only and not (args.start and args.hold_out):
        raise UsageError("--calibrate-only: expected --start BUNDLE and --hold-out PERSON...")
    if args.start and (args.recipe == SITE or args.workers != 1):
        raise UsageError(
            "--start: expected a recipe and one worker; train site takes its bundles by --base"
        )
    if args.recipe != SITE and (args.live or args.base or args.people):
        raise UsageError(
            "--live, --base, --people: expected with train site only; say padflow train site"
        )


def _check_new(args: argparse.Namespace, folder: Path) -> None:
    """Whether the run's folder holds none, or one that is to be gone on with."""
    begun = [folder / "checkpoint.pt", *folder.glob("fold-*/checkpoint.pt")]
    if not args.resume and any(path.exists() for path in begun):
        raise UsageError(
            f"{folder}: holds a training run already; go on with --resume, or give another --run"
        )


_OF_CROPS = (
    "data",
    "validate",
    "hold-out",
    "folds",
    "hold-out-cameras",
    "start",
    "calibrate-only",
    "files",
)
"""Options that are about crops."""
_NOT_OF_FUSION = (*_OF_CROPS[1:], "epochs", "max-minutes")
"""Options that a fusion would take no notice of."""


def _check_folds(args: argparse.Namespace) -> None:
    from ...trainers.recipe import NETWORK, recipe_kind

    if args.recipe == SITE or recipe_kind(args.recipe) != NETWORK:
        raise UsageError(f"--folds: expected the recipe of a network on crops, found {args.recipe}")
    if args.hold_out or args.start or args.calibrate_only or args.workers != 1:
        raise UsageError(
            "--folds: expected no --hold-out, --start or --calibrate-only and one worker: each "
            "network is kept from its fold and starts anew; leave them out"
        )


def _given(args: argparse.Namespace, option: str) -> bool:
    return bool(getattr(args, option.replace("-", "_")))


def _run_pulse(args: argparse.Namespace, folder: Path) -> int:
    """Train the pulse network and write its bundle."""
    from ...trainers.pulse_recipe import load_pulse_recipe

    if args.workers != 1:
        raise UsageError(f"--workers: expected 1 with {args.recipe}, found {args.workers}")
    recipe = load_pulse_recipe(args.recipe, **_changes(args))
    try:
        from ...trainers.pulse_bundling import make_pulse_bundle
        from ...trainers.pulse_training import train_pulse
        from ...trainers.training import use_threads
    except ModuleNotFoundError as error:
        raise UsageError(MISSING.format(name=error.name)) from error
    if args.threads:
        use_threads(args.threads)
    trained = train_pulse(recipe, folder, resume=args.resume, say=_say)
    bundle = make_pulse_bundle(trained, args.out, say=_say)
    _say(f"{bundle.folder}: {int(trained.last['epoch'])} epochs, {trained.minutes:.1f} minutes")
    return Exit.DONE


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes of the recipe."""
    asked = {"epochs": args.epochs, "max_minutes": args.max_minutes, "seed": args.seed}
    return {name: value for name, value in asked.items() if value is not None}


def _recipe(args: argparse.Namespace) -> "Recipe":
    """The recipe with what the command line changes of it."""
    from ...trainers.recipe import load_recipe

    recipe = load_recipe(args.recipe, **_changes(args))
    if recipe.share_of_learned < 1 and not args.start:
        raise UsageError(
            f"recipe {args.recipe}: share_of_learned: expected --start BUNDLE beside "
            f"{recipe.share_of_learned:g}, which draws back to its weights, found none; give one, "
            "or leave share_of_learned out"
        )
    rule = recipe.hold_out
    if args.hold_out:
        rule = replace(rule, persons=tuple(args.hold_out))
    if args.hold_out_cameras:
        rule = replace(rule, cameras=tuple(args.hold_out_cameras))
    return replace(recipe, hold_out=rule)


def _cross_fitted(args: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """The network of everybody, and the folds'."""
    from ...trainers.crops import open_crops
    from ...trainers.cross_fitting import cross_fit
    from ...trainers.holdout import names_of
    from ...trainers.training import use_threads

    if args.threads:
        use_threads(args.threads)
    recipe = _recipe(args)
    store = open_crops(*args.data)
    _tell_of_unknown_company(store)
    found = cross_fit(
        recipe,
        store,
        folder,
        [names_of(fold) for fold in args.folds],
        extra_validation=args.validate,
        resume=args.resume,
        say=_say,
    )
    return found.everybody, found.folds


def _trained(args: argparse.Namespace, folder: Path, bases: "list[Bundle]") -> Any:
    from ...trainers.bundling import staying_calibration
    from ...trainers.crops import open_crops
    from ...trainers.training import taken_as_it_is, train, use_threads
    from ...trainers.weights import bundle_weights, mean_of

    recipe = _recipe(args)
    store = open_crops(*args.data)
    if not recipe.hold_out.nobody:
        _tell_of_unknown_company(store)
    start = mean_of([bundle_weights(base) for base in bases]) if bases else None
    if args.threads:
        use_threads(args.threads)
    if bases:
        kept = [base.manifest.training for base in bases]
        _tell_whom_it_may_know(kept, recipe, store, args)
        recipe = _held_out_as(recipe, kept, store, learns=not args.calibrate_only)
    if recipe.hold_out.nobody:
        staying_calibration(recipe, bases)  # says what is wrong before the training
    if args.calibrate_only:
        assert start is not None
        return taken_as_it_is(recipe, store, folder, start, extra_validation=args.validate)
    if args.workers > 1:
        from ...trainers.workers import train_on_workers

        return train_on_workers(
            recipe,
            args.data,
            folder,
            args.workers,
            extra_validation=args.validate,
            resume=args.resume,
            say=_say,
        )
    return train(
        recipe,
        store,
        folder,
        extra_validation=args.validate,
        resume=args.resume,
        start=start,
        say=_say,
    )


def _tell_of_unknown_company(store: "CropStore") -> None:
    """Told, not refused: that nobody else is in them may be known otherwise."""
    if unknown := sum(row.shows is None for row in store.rows):
        _say(
            f"{unknown} of {len(store)} crops do not tell whose face their masks and papers show: "
            "made before padflow kept it, they may show people who are held out; make them anew, "
            "or see that each store holds people of one side only"
        )


def _tell_whom_it_may_know(
    before: "list[Training]", recipe: "Recipe", store: "CropStore", args: argparse.Namespace
) -> None:
    """Told, not refused: a manifest says whom a network was kept from, not whom it learned from."""
    from ...trainers.holdout import drawn

    kept = _kept_from_all(training.held_out("persons") for training in before)
    rows = (r for r in store.rows if r.source not in recipe.leave_out_sources)
    held = recipe.hold_out.persons or drawn({row.person for row in rows}, recipe.hold_out.share)
    if others := sorted(set(held) - set(kept)):
        named = " ".join(map(str, args.start))
        print(
            f"--start {named}: was kept from {', '.join(kept) or 'nobody'}; if it has "
            f"learned from {', '.join(others)}, who are held out now, it is judged and "
            "calibrated on people it knows: then hold out others",
            file=sys.stderr,
        )


def _held_out_as(
    recipe: "Recipe", before: "list[Training]", store: "CropStore", *, learns: bool
) -> "Recipe":
    """The recipe without what of the store's media and cameras all trainings before held out.

    Those that it names itself stand. Where the store has none of those media, a training draws
    some of its own; weights that learn nothing more are judged on no media that they know.
    """
    import yaml

    from ...trainers.recipe import parse_recipe

    rule = recipe.hold_out
    if rule.nobody:
        return recipe
    if not rule.media:
        media = _kept_from_all(training.held_out("media") for training in before)
        here = {row.medium for row in store.rows}
        new = tuple(name for name in media if name in here)
        rule = replace(rule, media=new if new or learns else media)
    if not rule.cameras:
        rules = (parse_recipe(yaml.safe_load(training.recipe)).hold_out for training in before)
        cameras = _kept_from_all(one.cameras for one in rules)
        here = {row.camera for row in store.rows}
        rule = replace(rule, cameras=tuple(name for name in cameras if name in here))
    return replace(recipe, hold_out=rule)


def _kept_from_all(names: "Iterable[tuple[str, ...]]") -> tuple[str, ...]:
    """What stands in each of several lists, in order."""
    return tuple(sorted(set.intersection(*map(set, names))))


def _say(text: str) -> None:
    print(text, flush=True)


def _summary(trained: Any, bundle: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("precision", "ACER", "EER", "CPU-ms", "in the bundle"):
        table.add_column(column)
    values = {metric.name: metric.value for metric in bundle.manifest.metrics}
    for role in ("f32", "bf16", "f16", "int8"):
        if f"acer_{role}" in values:
            table.add_row(
                role,
                f"{100 * values[f'acer_{role}']:.2f} %",
                f"{100 * values[f'eer_{role}']:.2f} %",
                f"{values[f'cpu_ms_{role}']:.2f}",
                "yes" if role in bundle.manifest.files else "",
            )
    console = Console()
    console.print(table)
    console.print(
        f"{bundle.folder}: best epoch {trained.best['epoch']}, {trained.minutes:.1f} minutes",
        soft_wrap=True,
    )
