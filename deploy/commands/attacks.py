"""``padflow attacks``: labelled videos of attacks, made from anybody's footage."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exits import Exit, UsageError

if TYPE_CHECKING:
    from ...trainers.attacks.clips import ClipParams
    from ...trainers.attacks.people import FaceFinder, PersonPicture

_SPECIES = ("live", "print", "screen", "mask", "partial")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Footage, output, which species and how many."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="a clip or a portrait of one person; each file is taken for another person",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--species",
        nargs="+",
        choices=_SPECIES,
        default=list(_SPECIES),
        help="what comes to the camera (default: all)",
    )
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="videos per species and source"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each video (default: 4)")
    parser.add_argument("--fps", type=int, default=25, help="frames per second (default: 25)")
    parser.add_argument(
        "--raise-after",
        type=float,
        metavar="SECONDS",
        help="prints and screens come before the living face after so long (default: they are "
        "there from the beginning)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same videos")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of all parameters, no more"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Render every species of every source; what is written is whole at any time."""
    if args.schema:
        from ...trainers.attacks.clip_files import parameter_schema

        print(json.dumps(parameter_schema(), indent=1))
        return Exit.DONE
    _check(args)
    import cv2

    from ...trainers.attacks.clip_files import ListsError
    from ...trainers.attacks.people import FaceFinder, NoPeople

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # small pictures: OpenCV's pool doubles the CPU time for nothing
    try:
        with FaceFinder(matte=False) as finder:
            _make(args, finder)
    except (NoPeople, ListsError) as error:
        raise UsageError(str(error)) from error
    finally:
        cv2.setNumThreads(threads)
    return Exit.DONE


def _check(args: argparse.Namespace) -> None:
    if not args.sources:
        raise UsageError("SOURCE: expected a clip or a portrait, found none; name one or more")
    if args.out is None:
        raise UsageError("--out: expected a folder to write, found none; name one")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: expected a folder, found a file; name another")
    for path in args.sources:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "none"
            raise UsageError(f"{path}: expected a video or picture file, found {what}")
    if args.raise_after is not None and not 0 < args.raise_after < args.seconds:
        raise UsageError(
            f"--raise-after {args.raise_after:g}: expected more than 0 and less than the video's "
            f"{args.seconds:g} seconds"
        )
    for name, low, high in (("count", 1, 10_000), ("seconds", 0.1, 600), ("fps", 5, 120)):
        value = getattr(args, name)
        if not low <= value <= high:
            raise UsageError(f"--{name} {value}: expected {low} to {high}; choose one of those")
    if args.seed < 0:
        raise UsageError(f"--seed {args.seed}: expected 0 or more; choose another")


def _make(args: argparse.Namespace, finder: "FaceFinder") -> None:
    from ...engines.locks import sole_writer
    from ...trainers.attacks.clip_files import SHEET, read_lists, write_lists, write_sheet
    from ...trainers.attacks.sources import read_footage

    names = _names(args.sources)
    # One look at every source first: a bad one is told before anything is made.
    faces = [
        read_footage(finder, path, name, 0.0, args.fps, 0.5).frames[0]
        for path, name in zip(args.sources, names, strict=True)
    ]
    made: list[ClipParams] = []
    with sole_writer(args.out):
        before = read_lists(args.out)
        for place, (path, name) in enumerate(zip(args.sources, names, strict=True)):
            for number in range(args.count):
                for params in _versions(args, finder, path, name, (place, number), faces):
                    made.append(params)
                    write_lists(args.out, made, before)
                    if not args.quiet:
                        no_face = "" if params.face_found else " (no face)"
                        _say(f"{len(made)}: {params.item}{no_face}")
        write_sheet(args.out, made)
    if not args.quiet:
        _say(f"{args.out / SHEET}")


def _versions(
    args: argparse.Namespace,
    finder: "FaceFinder",
    path: Path,
    name: str,
    number: tuple[int, int],
    faces: "Sequence[PersonPicture]",
) -> "Iterator[ClipParams]":
    """All species of one piece of footage, written one by one."""
    from dataclasses import replace

    from ...trainers.attacks.clip_files import item_path, write_clip
    from ...trainers.attacks.clips import ClipMaker
    from ...trainers.attacks.handheld import RaiseParams
    from ...trainers.attacks.parameters import generator
    from ...trainers.attacks.sources import read_footage

    rng = generator(args.seed, *number)
    seed, share = int(rng.integers(1 << 31)), float(rng.random())
    footage = read_footage(finder, path, name, args.seconds, args.fps, share)
    raised = RaiseParams(args.raise_after) if args.raise_after is not None else None
    maker = ClipMaker(footage, finder, args.fps, seed, faces, raised)
    for species in dict.fromkeys(args.species):
        clip = maker.make(species, "")
        item = item_path(clip.params, f"{name}-{number[1]:02d}")
        clip = replace(clip, params=replace(clip.params, item=item))
        write_clip(clip, args.out / item)
        yield clip.params


def _names(paths: Sequence[Path]) -> list[str]:
    """A person for each file: its stem, numbered where several have the same."""
    from ...trainers.sources import source_name

    names: list[str] = []
    for path in paths:
        stem = source_name(path)
        taken = sum(name.rpartition("~")[0] == stem or name == stem for name in names)
        names.append(f"{stem}~{taken + 1}" if taken else stem)
    return names


def _say(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(text), soft_wrap=True)
