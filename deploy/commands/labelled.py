"""What the commands that read labelled footage share: how it is named, read, and what is told."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..exits import UsageError

if TYPE_CHECKING:
    from ...trainers.data import Dataset, Sample


def add_layout(parser: argparse.ArgumentParser) -> None:
    """The option ``--layout``."""
    parser.add_argument(
        "--layout", default="auto", metavar="NAME", help="how the data lie on disk (default: auto)"
    )


def read_labelled(layout: str, root: Path) -> "Dataset":
    """The footage in a folder; what is missing of it is told.

    Raises:
        UsageError: it cannot be read.
    """
    from ...trainers.data import DataError, read_dataset

    try:
        dataset = read_dataset(layout, root)
    except DataError as error:
        raise UsageError(str(error)) from error
    if not dataset.complete:
        print(dataset.report(), file=sys.stderr)
    return dataset


def of_known_species(dataset: "Dataset") -> "list[Sample]":
    """The items that a store has a place for; how many are left out is told."""
    from ...trainers.crops import Species

    known = get_args(Species)
    for species, count in Counter(sample.species for sample in dataset.samples).items():
        if species not in known:
            print(
                f"left out: {count} items of the species {species}, which has no place in a store",
                file=sys.stderr,
            )
    return [sample for sample in dataset.samples if sample.species in known]
