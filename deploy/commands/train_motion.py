"""``padflow train motion_depth``: the multi-frame network, from sequences to a bundle."""

import argparse
from pathlib import Path
from typing import Any

from ..exits import Exit, UsageError


def run_motion(args: argparse.Namespace, folder: Path) -> int:
    """Train on sequence stores, export, calibrate, write the bundle.

    Args:
        args: Of the command.
        folder: Of the run: checkpoint and history.
    """
    _check(args)
    from ...trainers.motion.bundling import make_motion_bundle
    from ...trainers.motion.recipe import MOTION
    from ...trainers.motion.store import open_sequences
    from ...trainers.motion.training import train_motion
    from ...trainers.training import use_threads

    asked = {
        "epochs": args.epochs,
        "max_minutes": args.max_minutes,
        "seed": args.seed,
        "hold_out": tuple(args.hold_out) if args.hold_out else None,
    }
    changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    recipe = MOTION.load(args.recipe, **changes)
    if args.threads:
        use_threads(args.threads)
    trained = train_motion(recipe, open_sequences(args.data), folder, resume=args.resume, say=_say)
    others = open_sequences(args.validate) if args.validate else []
    bundle = make_motion_bundle(trained, args.out, others=others, say=_say)
    _say(f"{bundle.folder}: {trained.minutes:.1f} minutes of training")
    return Exit.DONE


def _check(args: argparse.Namespace) -> None:
    refused = {
        "--start": args.start,
        "--calibrate-only": args.calibrate_only,
        "--hold-out-cameras": args.hold_out_cameras,
        "--files": args.files,
        "--workers": args.workers != 1,
        "--live, --base, --people": args.live or args.base or args.people,
    }
    for name, given in refused.items():
        if given:
            raise UsageError(
                f"{name}: expected none with train motion_depth, which learns in one process from "
                "sequence stores and is exported in f32"
            )


def _say(text: str) -> None:
    print(text, flush=True)
