"""``padflow sequences``: from labelled videos to a sequence store, for the motion network."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..exits import Exit, UsageError
from .labelled import add_layout, of_known_species, read_labelled

if TYPE_CHECKING:
    from ...trainers.data import Sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Videos, who is in them, output, cadence."""
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="labelled videos, such as those of padflow attacks; may be given several times",
    )
    parser.add_argument(
        "--live",
        nargs="+",
        default=[],
        type=Path,
        metavar="FOOTAGE",
        help="videos, or folders of videos, of living people",
    )
    add_layout(parser)
    parser.add_argument(
        "--people",
        type=Path,
        metavar="CSV",
        help="who is in which video, or source of padflow attacks: item,person (default: each "
        "source is a person)",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="STORE",
        help="the sequence store; what is in it already is not cut again",
    )
    parser.add_argument(
        "--cadence",
        type=float,
        default=12.5,
        metavar="HZ",
        help="crops a second (default: 12.5); training draws its intervals from these",
    )


def run(args: argparse.Namespace) -> int:
    """Cut every video; those without a face are told."""
    if not (args.data or args.live):
        raise UsageError("--data: expected labelled videos, found none; give --data or --live")
    if not 2.0 <= args.cadence <= 60.0:
        raise UsageError(f"--cadence {args.cadence:g}: expected 2 to 60 crops a second")
    from ...engines.locks import sole_writer
    from ...trainers.motion.cutting import cut_sequences, living, read_making
    from ...trainers.motion.store import ROW, open_sequences
    from ...trainers.sources import SourceFilesError, people_by_source, read_people, source_files

    try:
        people = read_people(args.people) if args.people else {}
        videos = living(source_files(args.live), people) if args.live else []
        by_source = people_by_source(people) if args.data else {}
    except SourceFilesError as error:
        raise UsageError(str(error)) from error
    names = [root.resolve().name for root in args.data]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"--data: expected folders of different names, found {twice[0]} more than once: their "
            "sequences would be taken for each other; rename one"
        )
    parts = [
        (name, _videos(root, args.layout), read_making(root), by_source)
        for name, root in zip(names, args.data, strict=True)
    ]
    with sole_writer(args.out):
        for prefix, samples, making, known in [*parts, ("footage", videos, {}, {})]:
            found = cut_sequences(
                samples,
                args.out,
                prefix=prefix,
                people=known,
                making=making,
                cadence=args.cadence,
                say=_say,
            )
            _say(
                f"{prefix}: {found.made} sequences made, {found.there} were there, "
                f"{len(found.without)} videos without a face for long enough"
            )
    if not any(args.out.glob(f"[!.]*/{ROW}")):
        raise UsageError(
            f"--out {args.out}: expected a face for long enough in one of the videos, found none"
        )
    rows = [one.row for one in open_sequences([args.out])]
    counts = ", ".join(
        f"{n} {name}" for name, n in sorted(Counter(r.species for r in rows).items())
    )
    _say(f"{args.out}: {len(rows)} sequences ({counts}) of {len({r.person for r in rows})} persons")
    return Exit.DONE


def _videos(root: Path, layout: str) -> "list[Sample]":
    """Labelled videos; a picture alone is no sequence."""
    from ...nodes.sources import PICTURES

    found = of_known_species(read_labelled(layout, root))
    return [sample for sample in found if sample.path.suffix.lower() not in PICTURES]


def _say(text: str) -> None:
    print(text, flush=True)
