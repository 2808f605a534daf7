"""``padflow synthesise``: from footage of the living to a crop store of live and attack shots."""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...graph.machine import processors
from ..exits import Exit, UsageError

if TYPE_CHECKING:
    from ...trainers.attacks.people import PersonPicture
    from ...trainers.attacks.shots import Species
    from ...trainers.crops import CropStore
    from ...trainers.making import StoreOrder

_AMOUNT = re.compile(r"\d{1,6}(\.\d{1,6})?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sources, output, amount, seed, people, processes."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="clip or portrait of living people, or a folder of them (default: the public-domain "
        "portraits that matplotlib and scikit-image carry)",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="STORE", help="the crop store")
    parser.add_argument("--rows", type=int, default=4000, metavar="N", help="(default: 4000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: 0)")
    parser.add_argument(
        "--people",
        type=Path,
        metavar="CSV",
        help="who is in which source: item,person (default: each source is a person)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: as many as cores)"
    )
    parser.add_argument(
        "--portraits", action="store_true", help="show the portraits beside the sources"
    )
    parser.add_argument(
        "--lend-portraits",
        action="store_true",
        help="the portraits lend features and hold media, but are not shown",
    )
    parser.add_argument(
        "--rows-per-seed",
        type=int,
        metavar="N",
        help="rows of one seed, which are made by one process (default: 2000); the seeds count up",
    )
    parser.add_argument(
        "--enlarge",
        type=float,
        default=0.0,
        metavar="PX",
        help="enlarge sources until their faces have this many pixels or more, up to 300, and lay "
        "the features of finer pictures over them (default: 0, none)",
    )
    parser.add_argument(
        "--identities",
        type=int,
        metavar="N",
        help="procedural people of a seed (default: a sixth of its rows, 60 to 240)",
    )
    parser.add_argument(
        "--share",
        action="append",
        default=[],
        metavar="SPECIES=N",
        help="how much of a species the store gets, beside the others; may be given for several "
        "(default: live=42 print=21 screen=19 mask=10 partial=8)",
    )


def run(args: argparse.Namespace) -> int:
    """Find the people, make what the store lacks, tell what it holds."""
    from ...trainers.making import ROWS_PER_SEED, StoreOrder

    _check(args)
    shares = _shares(args.share)
    shown, others = _people(args)
    order = StoreOrder(
        people=shown,
        rows=args.rows,
        seed=args.seed,
        others=others,
        rows_per_seed=args.rows_per_seed or ROWS_PER_SEED,
        identities=args.identities,
        enlarge=args.enlarge,
        shares=shares,
    )
    store = _made(order, args)
    print_store(store)
    return Exit.DONE


def _check(args: argparse.Namespace) -> None:
    for name in ("rows", "workers", "rows_per_seed", "identities"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected 1 or more, found {value}")
    if args.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, found {args.seed}")
    if not 0 <= args.enlarge <= 300:
        raise UsageError(f"--enlarge: expected 0 to 300 pixels, found {args.enlarge:g}")
    if args.portraits and args.lend_portraits:
        raise UsageError(
            "--lend-portraits: expected without --portraits, found both; shown people lend anyway"
        )


def _shares(given: list[str]) -> "dict[Species, float]":
    """The usual shares with the given ones, in hundredths, in their places."""
    from ...trainers.synthesis import SHARES

    shares = dict(SHARES)
    for text in given:
        name, _, amount = text.partition("=")
        species = next((one for one in SHARES if one == name), None)
        if species is None or not _AMOUNT.fullmatch(amount):
            raise UsageError(
                f"--share: expected one of {', '.join(SHARES)} and a number of 0 or more, such as "
                f"partial=20, found {text!r}"
            )
        shares[species] = float(amount) / 100
    if not sum(shares.values()):
        raise UsageError("--share: expected at least one species above 0, found none")
    return shares


def _people(args: argparse.Namespace) -> "tuple[list[PersonPicture], list[PersonPicture]]":
    """Those who are shown, and those who lend."""
    from ...trainers.attacks.people import FaceFinder, portrait_pictures
    from ...trainers.sources import SourceFilesError, people_pictures, read_people, source_files

    try:
        files = source_files(args.sources)
        people = read_people(args.people) if args.people else {}
        with FaceFinder() as finder:
            show = args.portraits or not args.sources
            wanted = show or args.lend_portraits
            portraits = portrait_pictures(finder) if wanted else []
            if wanted and not portraits:
                raise UsageError(
                    "portraits: expected matplotlib or scikit-image, which carry them, found "
                    "neither; install them with pip install 'padflow[demo]', or give sources"
                )
            shown = people_pictures(finder, files, people, _say)
    except SourceFilesError as error:
        raise UsageError(str(error)) from error
    return ([*shown, *portraits], []) if show else (shown, portraits)


def _made(order: "StoreOrder", args: argparse.Namespace) -> "CropStore":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from ...trainers.making import make_store

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=order.rows)
        return make_store(
            order,
            args.out,
            workers=args.workers or processors(),
            tell=lambda rows: progress.update(task, completed=rows),
        )


def print_store(store: "CropStore") -> None:
    """What a store holds, by species."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("species", "rows", "persons", "media", "instruments", "face px"):
        table.add_column(
            column, justify="left" if column in ("species", "instruments") else "right"
        )
    for species, _ in Counter(row.species for row in store.rows).most_common():
        table.add_row(*_line(species, [row for row in store.rows if row.species == species]))
    console = Console()
    console.print(table)
    folders = ", ".join(str(folder) for folder in store.folders)
    console.print(f"{folders}: {len(store)} rows", soft_wrap=True)


def _line(species: str, rows: list[Any]) -> tuple[str, ...]:
    sizes = sorted(row.face_px for row in rows)
    kinds = Counter(row.instrument.partition(":")[2] for row in rows if row.instrument)
    return (
        species,
        str(len(rows)),
        str(len({row.person for row in rows})),
        str(len({row.medium for row in rows if row.medium})),
        ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
        f"{sizes[0]:.0f} to {sizes[-1]:.0f}, median {sizes[len(sizes) // 2]:.0f}",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
