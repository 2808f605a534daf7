"""``padflow train motion_depth`` and ``pulse_depth``: from sequences to a bundle."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exits import Exit, UsageError

if TYPE_CHECKING:
    from ...engines.bundle import Bundle
    from ...trainers.motion.store import StoredSequence

KINDS = {"motion": "motion_depth", "pulse_depth": "pulse_depth"}
"""Kinds of recipes that learn from padflow sequences, and the name of each one's shipped recipe."""


def run_on_sequences(args: argparse.Namespace, folder: Path, kind: str) -> int:
    """Train on sequence stores, export, calibrate, write the bundle.

    Args:
        args: Of the command.
        folder: Of the run: checkpoint and history.
        kind: Of the recipe, one of :data:`KINDS`.
    """
    _check(args, KINDS[kind])
    from ...trainers.motion.store import open_sequences
    from ...trainers.training import use_threads

    given = {
        "epochs": args.epochs,
        "max_minutes": args.max_minutes,
        "seed": args.seed,
        "hold_out": tuple(args.hold_out) if args.hold_out else None,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if args.threads:
        use_threads(args.threads)
    others = open_sequences(args.validate) if args.validate else []
    asked = _Asked(args, changes, folder, open_sequences(args.data), others)
    bundle, minutes = {"motion": _motion, "pulse_depth": _pulse}[kind](asked)
    _say(f"{bundle.folder}: {minutes:.1f} minutes of training")
    return Exit.DONE


class _Asked(NamedTuple):
    """What is to be made, and of what."""

    args: argparse.Namespace
    changes: dict[str, Any]
    """Of the recipe."""
    folder: Path
    """Of the run."""
    sequences: "list[StoredSequence]"
    others: "list[StoredSequence]"
    """To measure on besides."""


def _motion(of: _Asked) -> "tuple[Bundle, float]":
    from ...trainers.motion.bundling import make_motion_bundle
    from ...trainers.motion.recipe import MOTION
    from ...trainers.motion.training import train_motion

    recipe = MOTION.load(of.args.recipe, **of.changes)
    trained = train_motion(recipe, of.sequences, of.folder, resume=of.args.resume, say=_say)
    bundle = make_motion_bundle(trained, of.args.out, others=of.others, say=_say)
    return bundle, trained.minutes


def _pulse(of: _Asked) -> "tuple[Bundle, float]":
    from ...trainers.motion.pulse_batches import usable
    from ...trainers.motion.pulse_bundling import make_pulse_depth_bundle
    from ...trainers.motion.pulse_recipe import PULSE_DEPTH
    from ...trainers.motion.pulse_training import train_pulse_depth

    recipe = PULSE_DEPTH.load(of.args.recipe, **of.changes)
    others = usable(of.others, recipe.sampling.shortest, _say)  # before the training, not after
    trained = train_pulse_depth(recipe, of.sequences, of.folder, resume=of.args.resume, say=_say)
    return make_pulse_depth_bundle(trained, of.args.out, others=others, say=_say), trained.minutes


def _check(args: argparse.Namespace, name: str) -> None:
    refused = {
        "--start": args.start,
        "--calibrate-only": args.calibrate_only,
        "--hold-out-cameras": args.hold_out_cameras,
        "--files": args.files,
        "--workers": args.workers != 1,
        "--live, --base, --people": args.live or args.base or args.people,
    }
    for option, given in refused.items():
        if given:
            raise UsageError(
                f"{option}: expected none with train {name}, which learns in one process from "
                "sequence stores and is exported in f32"
            )


def _say(text: str) -> None:
    print(text, flush=True)
