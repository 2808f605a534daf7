"""``padflow crops``: from labelled footage to a crop store."""

import argparse
import sys
from pathlib import Path

from ..exits import Exit, UsageError
from .labelled import add_layout, of_known_species, read_labelled
from .synthesise import print_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, layout, output, step."""
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="labelled dataset, e.g. live/ and attack/<species>/",
    )
    add_layout(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="STORE",
        help="the crop store; one that was interrupted is gone on with",
    )
    parser.add_argument(
        "--step", type=int, default=1, metavar="N", help="take every so many frames (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Cut the largest face of every picture; items that cannot be used are told.

    A store that was begun with the same items is gone on with where it was interrupted.
    """
    from ...engines.locks import sole_writer
    from ...trainers.attacks.people import FaceFinder
    from ...trainers.crops import ORDER, CropWriter, begin_store, open_crops
    from ...trainers.footage import footage_order, store_footage
    from ...trainers.motion.cutting import read_making, showing

    if args.step < 1:
        raise UsageError(f"--step: expected 1 or more, found {args.step}")
    if any(args.out.glob("part-*")) and not (args.out / ORDER).is_file():
        raise UsageError(f"--out {args.out}: holds a crop store already; give another folder")
    samples = showing(
        of_known_species(read_labelled(args.layout, args.data)), read_making(args.data)
    )
    writer = CropWriter(args.out)
    with sole_writer(args.out), FaceFinder(matte=False) as finder, writer:
        begin_store(args.out, footage_order(samples, args.step))
        there = open_crops(args.out).rows if any(args.out.glob("part-*")) else ()
        try:
            found = store_footage(samples, writer, finder, args.step, there)
        except KeyboardInterrupt:
            writer.flush()
            raise
    for why in found.unreadable:
        print(why, file=sys.stderr)
    if not (found.faces or there):
        raise UsageError(
            f"--data {args.data}: expected a face in one of {found.pictures} pictures, found none"
        )
    print_store(open_crops(args.out))
    further, before = (" further", f", {len(there)} crops were there") if there else ("", "")
    print(f"{found.faces} of {found.pictures}{further} pictures have a face{before}")
    return Exit.FAILED if found.unreadable else Exit.DONE
