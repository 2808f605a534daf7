"""``padflow study``: what trained networks are worth, as JSON and tables in Markdown."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exits import Exit, UsageError

if TYPE_CHECKING:
    from ...trainers.crops import CropStore
    from ...trainers.studies.judging import Judged, Member, Running

NUMBERS, PAGE = "study.json", "study.md"
FORMAT = 1
_OF_FOLDS = ("synthetic", "real", "live")
"""Studies that can be merged."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each study, and one that merges folds."""
    kinds = parser.add_subparsers(dest="kind", metavar="STUDY", required=True)
    helps = {
        "synthetic": "protocols S1 to S4 on synthetic crops of people never seen",
        "real": "real footage by sequence, beside sharpness alone",
        "live": "real live clips one by one",
    }
    for kind, text in helps.items():
        one = kinds.add_parser(kind, help=text, description=text)
        _add_networks(one)
        if kind == "synthetic":
            _add_unseen(one)
        else:
            _add_footage(one, step=0.2 if kind == "live" else 0.0)
        _add_output(one)
    stream = kinds.add_parser("stream", help="cues over time: an ablation, and time to a decision")
    _add_evidence(stream)
    _add_output(stream)
    told = "heart rates by POS, CHROM and the pulse network on rendered video"
    pulse = kinds.add_parser("pulse", help=told, description=told)
    _add_pulse(pulse)
    _add_output(pulse)
    merge = kinds.add_parser("merge", help="put the folds of several studies into one table")
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE", help="study.json of each")
    _add_output(merge)


def _add_pulse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clips", type=int, default=40, metavar="N", help="clips to render (default: 40)"
    )
    parser.add_argument(
        "--engine", default="", metavar="BUNDLE", help="the pulse network (default: the shipped)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the clips (default: 0)")


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", nargs="+", required=True, type=Path, metavar="DIR", help="crop stores"
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        required=True,
        metavar="NAME=BUNDLE",
        help="bundles by a name that begins with the cue, e.g. depth_light=out/depth_light; the "
        "first of each cue is fused",
    )
    parser.add_argument("--fold", default="", metavar="NAME", help="what to call these networks")
    parser.add_argument("--policy", default="default", metavar="NAME|FILE", help="of the fusion")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "f32", "f16", "bf16", "int8"),
        help="of the networks (default: as served)",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads")
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="take the evidence of pictures that are unlike the training as well",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep scores here, for the next time"
    )


def _add_unseen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without",
        nargs="+",
        required=True,
        metavar="PERSON",
        help="people that the networks never saw, two or more: they are tested",
    )
    for what in ("media", "cameras"):
        parser.add_argument(
            f"--{what}",
            nargs="*",
            metavar="NAME",
            help=f"{what} that the networks never saw (default: what the bundles say)",
        )


def _add_footage(parser: argparse.ArgumentParser, step: float) -> None:
    parser.add_argument(
        "--persons", nargs="+", metavar="PERSON", help="only these people (default: all)"
    )
    parser.add_argument(
        "--step",
        type=float,
        default=step,
        metavar="S",
        help="seconds between two rows of a sequence, for the fusion; 0: all are one look, so "
        f"that a sequence's length says nothing (default: {step:g})",
    )
    parser.add_argument(
        "--worst", type=int, default=8, metavar="N", help="crops a line of the sheets (default: 8)"
    )


def _add_evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evidence",
        nargs="+",
        required=True,
        type=Path,
        metavar="DIR",
        help="what padflow evidence wrote, of people whom the networks were trained without",
    )
    parser.add_argument(
        "--recipe", default="fusion", metavar="NAME|FILE", help="of the fusion, with its cues"
    )
    parser.add_argument(
        "--base",
        nargs="+",
        metavar="CUE",
        help="cues that each is added to or taken from, such as those of the default graph "
        "(default: all of the recipe's)",
    )
    parser.add_argument(
        "--protocols",
        nargs="+",
        metavar="NAME",
        help="S1, S2, S3, S4, LOSO (default: all)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="draws of the intervals"
    )


def run(args: argparse.Namespace) -> int:
    """Make one study, or merge several."""
    _check(args)
    if args.kind == "pulse":
        return _pulse(args)
    if args.kind == "stream":
        _stream(args)
    elif args.kind == "merge":
        _merge(args)
    else:
        _write(args.kind, [_fold(args)], args)
    return Exit.DONE


def _pulse(args: argparse.Namespace) -> int:
    from rich.progress import Progress

    from ...trainers.studies.pulse import pulse_study, pulse_tables, pulse_text

    with Progress(transient=True) as bar:
        task = bar.add_task("rendering and measuring")
        found = pulse_study(
            args.out / "clips",
            args.clips,
            engine=args.engine,
            seed=args.seed,
            progress=lambda done, whole: bar.update(task, completed=done, total=whole),
        )
    tables = pulse_tables(found, args.resamples)
    text = pulse_text(tables)
    _save({"format": FORMAT, "study": "pulse", **found, "tables": tables}, text, args.out)
    return Exit.DONE


def _check(args: argparse.Namespace) -> None:
    least = {"threads": 1, "worst": 1, "resamples": 2, "clips": 1}
    for name, fewest in least.items():
        value = getattr(args, name, fewest)
        if value < fewest:
            raise UsageError(f"--{name}: expected {fewest} or more, found {value}")
    if not getattr(args, "step", 0.0) >= 0:
        raise UsageError(f"--step: expected seconds, 0 or more, found {args.step:g}")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: expected a folder, found a file; name another")


def _stream(args: argparse.Namespace) -> None:
    from ...trainers.evidence import read_folder
    from ...trainers.fusion import watched
    from ...trainers.fusion_bundle import load_fusion_recipe
    from ...trainers.studies.stream import PROTOCOLS, stream_study
    from ...trainers.studies.stream_text import stream_text

    unknown = sorted(set(args.protocols or ()) - set(PROTOCOLS))
    if unknown:
        raise UsageError(
            f"--protocols {unknown[0]}: expected some of {', '.join(PROTOCOLS)}; correct the name"
        )
    recipe = load_fusion_recipe(args.recipe)
    if strange := sorted(set(args.base or ()) - set(recipe.cues)):
        raise UsageError(
            f"--base {strange[0]}: expected cues of the recipe, {', '.join(recipe.cues)}; correct "
            "the name"
        )
    found = stream_study(
        watched(read_folder(*args.evidence)),
        recipe,
        base=args.base or (),
        protocols=args.protocols or PROTOCOLS,
        resamples=args.resamples,
    )
    whole = {"format": FORMAT, "study": "stream", **found}
    _save(whole, stream_text(found), args.out)


def _fold(args: argparse.Namespace) -> dict[str, Any]:
    from ...nodes.policy import load_policy
    from ...trainers.crops import open_crops
    from ...trainers.studies.judging import Running, members

    running = Running(
        load_policy(args.policy), args.precision, args.threads, not args.no_guard, args.cache
    )
    found = members(_named(args.networks), args.precision)
    store = open_crops(*args.store)
    if args.kind == "synthetic":
        from ...trainers.studies.synthetic import Unseen, synthetic_fold

        unseen = Unseen(
            tuple(args.without),
            None if args.media is None else tuple(args.media),
            None if args.cameras is None else tuple(args.cameras),
        )
        return synthetic_fold(args.fold, store, found, unseen, running)
    return _footage(args, store, found, running)


def _named(words: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder) or name in found:
            raise UsageError(
                f"--networks {word}: expected NAME=BUNDLE with a name of its own, such as "
                "depth=out/depth"
            )
        found[name] = Path(folder)
    return found


def _footage(
    args: argparse.Namespace, store: "CropStore", found: "Sequence[Member]", running: "Running"
) -> dict[str, Any]:
    from ...trainers.studies.real import of_persons, real_fold

    if args.persons:
        store = of_persons(store, args.persons)
    if args.kind == "live":
        store = store.only([i for i, row in enumerate(store.rows) if row.label == "live"])
    fold, judged = real_fold(args.fold, store, found, running, args.step)
    args.out.mkdir(parents=True, exist_ok=True)
    for member in found:
        _sheet(args, store, member, judged[member.name])
    return fold


def _sheet(
    args: argparse.Namespace, store: "CropStore", member: "Member", judged: "Judged"
) -> None:
    """What the network got most wrong: attacks above, live below."""
    import cv2

    from ...trainers.studies.judging import CROP_OF
    from ...trainers.studies.sheet import sheet, worst_rows

    llr = judged.evidence(guard=not args.no_guard)
    lines = [line for line in worst_rows(store, llr, args.worst) if line]
    if not lines:
        return
    page = sheet(store, lines, llr, CROP_OF[member.cue])
    done, data = cv2.imencode(".png", cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    name = "-".join(filter(None, ("worst", member.name, args.fold)))
    if done:
        _put(args.out / f"{name}.png", bytes(data))


def _merge(args: argparse.Namespace) -> None:
    kind, folds = _merged(args.files)
    try:
        _write(kind, folds, args)
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"study merge: expected what padflow study wrote in {', '.join(map(str, args.files))}, "
            f"found {type(error).__name__}: {error}; make it anew"
        ) from error


def _merged(files: Sequence[Path]) -> tuple[str, list[dict[str, Any]]]:
    found = [_read(path) for path in files]
    kinds = [str(one["study"]) for one in found]
    for path, kind in zip(files, kinds, strict=True):
        if kind != kinds[0]:
            raise UsageError(
                f"{path}: expected a {kinds[0]} study as in {files[0]}, found {kind}; merge "
                "studies of one kind"
            )
    folds = [fold for one in found for fold in one["folds"]]
    names = [fold["name"] for fold in folds]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"study merge: expected folds with names of their own, found {twice[0]!r} more than "
            "once; make them with --fold NAME"
        )
    return kinds[0], folds


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from error
    if not (isinstance(found, dict) and found.get("format") == FORMAT and _has_folds(found)):
        raise UsageError(
            f"{path}: expected a {NUMBERS} of format {FORMAT} of {', '.join(_OF_FOLDS)}, found "
            "something else; make it with padflow study"
        )
    return found


def _has_folds(found: Mapping[str, Any]) -> bool:
    folds = found.get("folds")
    if found.get("study") not in _OF_FOLDS or not isinstance(folds, list) or not folds:
        return False
    return all(isinstance(fold, dict) and isinstance(fold.get("name"), str) for fold in folds)


def _write(kind: str, folds: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    tables, text = _tables(kind, folds, args.resamples)
    whole = {"format": FORMAT, "study": kind, "folds": folds, "tables": tables}
    _save(whole, text, args.out)


def _save(whole: Mapping[str, Any], text: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _put(out / NUMBERS, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())
    _put(out / PAGE, text.encode())
    print(text, end="")


def _tables(
    kind: str, folds: Sequence[dict[str, Any]], resamples: int
) -> tuple[Mapping[str, Any], str]:
    from ...trainers.studies import markdown
    from ...trainers.studies.real import real_tables
    from ...trainers.studies.synthetic import synthetic_tables

    if kind == "live":
        return {}, markdown.live_text(folds)
    if kind == "real":
        tables = real_tables(folds, resamples=resamples)
        return tables, markdown.real_text(folds, tables)
    tables = synthetic_tables(folds, resamples=resamples)
    return tables, markdown.synthetic_text(folds, tables)


def _put(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m padflow.deploy.commands.study``: the same."""
    from ..cli import main as padflow

    return padflow(["study", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    raise SystemExit(main())
