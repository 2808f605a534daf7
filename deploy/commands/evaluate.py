"""``padflow evaluate``: error rates of the real graph on labelled data, as JSON and one page."""

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exits import Exit, UsageError
from .run import add_graph_arguments

if TYPE_CHECKING:
    from ...trainers.data import Dataset, Sample, Split
    from ...trainers.evaluation.evaluate import EvaluationSet
    from ...trainers.evaluation.presentations import Presentation, Scored

SCORES, NUMBERS, PAGE = "scores.csv", "evaluation.json", "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, layout, protocol, output folder, graph."""
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        type=Path,
        metavar="DIR",
        help="labelled dataset, e.g. live/ and attack/<species>/; several give a cross-set table",
    )
    parser.add_argument(
        "--layout",
        action="append",
        default=[],
        metavar="NAME",
        help="how the data lie on disk: once for all, or once for each --data (default: auto)",
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME|FILE",
        help="which items test and which set thresholds, all folds of it (default: the dataset's "
        "own test and dev parts, or every item where it has no parts)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="take these scores (padflow score), run nothing"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="a p_live fixed beforehand, tested as well"
    )
    parser.add_argument(
        "--worst", type=int, default=8, metavar="N", help="worst cases shown (default: 8)"
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="show the worst cases without their pictures"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the confidence intervals' draws")
    add_graph_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is tested, and what sets thresholds, under one name."""

    name: str
    folds: "Sequence[Split]"
    left_out: Sequence[str] = ()
    """Why folds of the protocol are not among them."""


def run(args: argparse.Namespace) -> int:
    """Score what has no score yet, evaluate, write; items that cannot be read are told."""
    from ...trainers.data import DataError
    from ...trainers.evaluation.evaluate import Settings
    from ...trainers.evaluation.metrics import EvaluationError

    _check(args)
    settings = Settings(threshold=args.threshold, seed=args.seed, worst=args.worst)
    try:
        datasets = _read(args.data, args.layout)
        plans = _plans(datasets, args.protocol)
        _demand_both(plans)
        if not args.quiet:
            _tell(datasets, plans)
        samples = _asked_for(plans)
        args.out.mkdir(parents=True, exist_ok=True)
        failed = 0 if args.scores else _score(samples, args)
        scored = _scored(args.scores or args.out / SCORES, samples)
        _report(_sets(plans, scored), settings, args, _measured(datasets, args))
    except (DataError, EvaluationError) as error:
        raise UsageError(str(error)) from error
    return Exit.FAILED if failed else Exit.DONE


def _check(args: argparse.Namespace) -> None:
    if len(args.layout) not in (0, 1, len(args.data)):
        raise UsageError(
            f"--layout: expected one for all or one for each of {len(args.data)} --data, found "
            f"{len(args.layout)}; give the missing ones (auto finds out)"
        )
    if args.threshold is not None and not 0 < args.threshold < 1:
        raise UsageError(
            f"--threshold {args.threshold}: expected a p_live between 0 and 1; give e.g. 0.5"
        )
    if args.worst < 0:
        raise UsageError(f"--worst {args.worst}: expected a number of cases, 0 or more")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: expected a folder, found a file; name another")
    if args.scores is not None and (not args.scores.exists() or args.scores.is_dir()):
        raise UsageError(
            f"--scores {args.scores}: expected a file that padflow score wrote, found none; "
            "check the path or leave the option out"
        )


def _read(folders: Sequence[Path], layouts: Sequence[str]) -> "list[tuple[str, Dataset]]":
    """The datasets by a name that tells them apart."""
    from ...trainers.data import read_dataset

    named = list(layouts) if len(layouts) == len(folders) else [*layouts, "auto"][:1] * len(folders)
    found: list[tuple[str, Dataset]] = []
    for folder, layout in zip(folders, named, strict=True):
        dataset = read_dataset(layout, folder)
        name = folder.resolve().name
        taken = sum(other.partition(" ")[0] == name for other, _ in found)
        found.append((f"{name} ({taken + 1})" if taken else name, dataset))
    return found


def _plans(datasets: "Sequence[tuple[str, Dataset]]", protocol: str | None) -> list[_Plan]:
    if protocol is None:
        return [_Plan(name, [_own_parts(name, dataset)]) for name, dataset in datasets]
    from ...trainers.data import load_protocol

    rules = load_protocol(protocol)
    every = [dataset for _, dataset in datasets]
    folds = [fold["name"] for fold in rules.folds]
    return [_Plan(f"protocol {rules.name}", *_folds(every, rules, folds))]


def _own_parts(name: str, dataset: "Dataset") -> "Split":
    from ...trainers.data import Split

    test = tuple(s for s in dataset.samples if s.split == "test")
    dev = tuple(s for s in dataset.samples if s.split == "dev")
    if not test:
        return Split(name, "", (), (), dataset.samples)
    return Split(name, "", (), dev, test)


def _folds(
    datasets: "Sequence[Dataset]", protocol: Any, folds: Sequence[str]
) -> "tuple[list[Split], list[str]]":
    """The folds that the data can make, and why others cannot be made."""
    from ...trainers.data import DataError, split

    found: list[Split] = []
    left_out: list[str] = []
    for fold in folds:
        try:
            found.append(split(datasets, protocol, fold))
        except DataError as error:
            if fold == folds[-1] and not found:
                raise
            left_out.append(str(error))
    return found, left_out


def _tell(datasets: "Sequence[tuple[str, Dataset]]", plans: Sequence[_Plan]) -> None:
    """What of the data is not as it should be, before hours of scoring."""
    for _, dataset in datasets:
        if not dataset.complete:
            for line in dataset.report().splitlines():
                _say(line)
    for plan in plans:
        for reason in plan.left_out:
            _say(f"left out: {reason}")


def _demand_both(plans: Sequence[_Plan]) -> None:
    """Told before hours of scoring: without both classes there is nothing to measure."""
    for plan in plans:
        for part in plan.folds:
            live, attack = part.counts()["test"]
            if not (live and attack):
                raise UsageError(
                    f"--data {plan.name} {part.fold}".rstrip() + ": expected bona fide and attack "
                    f"items to test, found {live} and {attack}; add the missing ones"
                )


def _asked_for(plans: Sequence[_Plan]) -> "list[Sample]":
    """Every sample of a dev or test part once, in order."""
    once = {
        str(sample.path): sample
        for plan in plans
        for part in plan.folds
        for sample in (*part.dev, *part.test)
    }
    return list(once.values())


def _score(samples: "Sequence[Sample]", args: argparse.Namespace) -> int:
    from ...graph.options import RunOptions
    from ..scoring import score_items
    from ..session import RunRequest, parse_override

    request = RunRequest(
        sources=(),
        graph=args.graph,
        mode="lossless",
        policy=args.policy,
        overrides=tuple(parse_override(text) for text in args.overrides),
        options=RunOptions(threads=args.threads, workers=args.workers or 0),
    )
    paths = [sample.path for sample in samples]
    return score_items(paths, request, args.out / SCORES, quiet=args.quiet)


def _scored(path: Path, samples: "Sequence[Sample]") -> "dict[str, Scored]":
    """Rows by the samples' paths; a row may name the same file in another way."""
    from ...trainers.evaluation.presentations import read_scores

    rows = {os.path.abspath(item): row for item, row in read_scores(path).items()}
    places = {str(s.path): os.path.abspath(s.path) for s in samples}
    return {item: rows[place] for item, place in places.items() if place in rows}


def _sets(plans: Sequence[_Plan], scored: "Mapping[str, Scored]") -> "list[EvaluationSet]":
    from ...trainers.evaluation.evaluate import EvaluationSet, Fold

    return [
        EvaluationSet(
            plan.name,
            [
                Fold(part.fold, _presentations(part.test, scored), _presentations(part.dev, scored))
                for part in plan.folds
            ],
            plan.left_out,
        )
        for plan in plans
    ]


def _measured(
    datasets: "Sequence[tuple[str, Dataset]]", args: argparse.Namespace
) -> dict[str, Any]:
    """What was measured, for who reads the numbers later."""
    from ...nodes.policy import load_policy

    graph: dict[str, Any] = {"scores": str(args.scores)}
    if args.scores is None:
        policy = load_policy(args.policy or "default").id
        graph = {"graph": args.graph, "policy": policy, "overrides": list(args.overrides)}
    data = [
        {
            "name": name,
            "layout": dataset.name,
            "items": len(dataset.samples),
            **{k: len(getattr(dataset, k)) for k in ("missing", "unreadable", "surplus")},
        }
        for name, dataset in datasets
    ]
    return {**graph, "protocol": args.protocol, "data": data}


def _presentations(
    samples: "Iterable[Sample]", scored: "Mapping[str, Scored]"
) -> "list[Presentation]":
    from ...trainers.evaluation.presentations import Known, joined

    known = [
        Known(
            item=str(s.path),
            live=s.label == "live",
            species="" if s.label == "live" else s.species,
            instrument=s.instrument,
            person=f"{s.dataset}/{s.person}" if s.person else "",
        )
        for s in samples
    ]
    return joined(known, scored, "scores")


def _report(
    sets: "Sequence[EvaluationSet]",
    settings: Any,
    args: argparse.Namespace,
    measured: Mapping[str, Any],
) -> None:
    from ...trainers.evaluation.evaluate import evaluate
    from ...trainers.evaluation.pictures import picture_of
    from ...trainers.evaluation.report import report_page

    result = {"measured": measured, **evaluate(sets, settings)}
    _write(args.out / NUMBERS, json.dumps(result, indent=1, allow_nan=False) + "\n")
    _write(args.out / PAGE, report_page(result, None if args.no_pictures else picture_of))
    if not args.quiet:
        _sum_up(result)
        _say(f"{args.out / PAGE} {args.out / NUMBERS}")


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _sum_up(result: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("max APCER", "BPCER", "ACER", "EER", "AUC", "BPCER at APCER 5 %", "BPNRR")
    table = Table("set", "threshold", *columns, title="error rates, %")
    for one in result["sets"]:
        for fold in one["folds"]:
            name = " ".join(filter(None, (one["name"], fold["name"])))
            table.add_row(name, *_row(fold))
    Console(stderr=True).print(table)


def _row(fold: Mapping[str, Any]) -> list[str]:
    """The first operating point, and what needs no threshold; empty where there are no scores."""
    no_answer = fold["non_response"]["bpnrr"]["value"]
    if not fold["operating_points"]:
        return [*[""] * 7, f"{100 * no_answer:.1f}"]
    point, summary = fold["operating_points"][0], fold["summary"]
    values = (
        *(point["strict"][name]["value"] for name in ("max_apcer", "bpcer", "acer")),
        *(summary[name]["value"] for name in ("eer", "auc", "bpcer_at_apcer_5")),
        no_answer,
    )
    return [point["name"], *(f"{100 * value:.1f}" for value in values)]


def _say(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(text), soft_wrap=True)
