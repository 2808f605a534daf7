"""``padflow crops``: from labelled footage to a crop store."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

from ..exits import Exit, UsageError
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
    parser.add_argument(
        "--layout", default="auto", metavar="NAME", help="how the data lie on disk (default: auto)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="STORE", help="the crop store")
    parser.add_argument(
        "--step", type=int, default=1, metavar="N", help="take every so many frames (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Cut the largest face of every picture; items that cannot be used are told."""
    from ...trainers.attacks.people import FaceFinder
    from ...trainers.crops import CropWriter, Species, open_crops
    from ...trainers.data import DataError, read_dataset
    from ...trainers.footage import store_footage

    if args.step < 1:
        raise UsageError(f"--step: expected 1 or more, found {args.step}")
    if any(args.out.glob("part-*")):
        raise UsageError(f"--out {args.out}: holds a crop store already; give another folder")
    try:
        dataset = read_dataset(args.layout, args.data)
    except DataError as error:
        raise UsageError(str(error)) from error
    if not dataset.complete:
        print(dataset.report(), file=sys.stderr)
    known = get_args(Species)
    samples = [sample for sample in dataset.samples if sample.species in known]
    for species, count in Counter(s.species for s in dataset.samples).items():
        if species not in known:
            print(
                f"left out: {count} items of the species {species}, which has no place in a store",
                file=sys.stderr,
            )
    with FaceFinder(matte=False) as finder, CropWriter(args.out) as writer:
        found = store_footage(samples, writer, finder, args.step)
    if not found.faces:
        raise UsageError(
            f"--data {args.data}: expected a face in one of {found.pictures} pictures, found none"
        )
    print_store(open_crops(args.out))
    print(f"{found.faces} of {found.pictures} pictures have a face")
    return Exit.DONE
