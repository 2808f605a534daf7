"""``padflow doctor``: what is installed and usable here, and what to do about each lack."""

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ...graph.machine import processors
from ..exits import Exit


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    state: str
    """``ok``, ``absent`` (optional and not there) or ``broken`` (needed and not usable)."""
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options beyond the output form."""
    parser.add_argument("--json", action="store_true", help="print findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 3 if anything needed is broken."""
    findings = list(examine())
    if args.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _print_table(findings)
    return Exit.FAILED if any(f.state == "broken" for f in findings) else Exit.DONE


def examine() -> Iterator[Finding]:
    """Look at the machine, the libraries, the backends and the models."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}")
    yield Finding("cores", "ok", f"{processors()} usable by this process")
    yield from _libraries()
    yield from _codecs()
    yield from _backends()
    yield from _models()
    yield from _plugins()


def _libraries() -> Iterator[Finding]:
    for name in ("numpy", "scipy", "av", "opencv-python", "openvino", "onnxruntime", "rich"):
        yield _library(name, needed=True, remedy=f"pip install {name}")
    for name, extra in (
        ("matplotlib", "demo"),
        ("scikit-image", "demo"),
        ("torch", "train"),
        ("tensorrt", "gpu"),
        ("pycuda", "gpu"),
    ):
        yield _library(name, needed=False, remedy=f"pip install 'padflow[{extra}]'")
    clashing = [
        name
        for name in ("opencv-python-headless", "opencv-contrib-python")
        if _version(name) is not None
    ]
    if clashing:
        yield Finding(
            "opencv",
            "broken",
            f"{', '.join(clashing)} beside opencv-python: they overwrite each other's cv2 folder",
            f"pip uninstall {' '.join(clashing)} && pip install --force-reinstall opencv-python",
        )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(name: str, *, needed: bool, remedy: str) -> Finding:
    version = _version(name)
    if version is not None:
        return Finding(name, "ok", version)
    return Finding(name, "broken" if needed else "absent", "not installed", remedy)


def _codecs() -> Iterator[Finding]:
    import av

    for name, mode, use in (
        ("h264", "r", "reading most cameras"),
        ("hevc", "r", "reading H.265 cameras"),
        ("libx264", "w", "annotated video"),
    ):
        if name in av.codecs_available:
            try:
                av.Codec(name, "r" if mode == "r" else "w")
                yield Finding(f"codec {name}", "ok", use)
                continue
            except (ValueError, av.error.FFmpegError):
                pass
        yield Finding(f"codec {name}", "broken", f"missing: {use}", "pip install --upgrade av")


def _backends() -> Iterator[Finding]:
    from ...engines.engine import backend_statuses

    for backend in backend_statuses():
        if backend.lack:
            yield Finding(f"backend {backend.name}", "absent", "not usable here", backend.lack)
        else:
            yield Finding(f"backend {backend.name}", "ok", f"runs {', '.join(backend.formats)}")


def _models() -> Iterator[Finding]:
    from ...engines.registry import PULLABLE
    from ...engines.store import listing, model_folder

    yield Finding("model folder", "ok", str(model_folder()))
    for model in listing():
        what = f"model {model.name}"
        if model.state in ("ok", "unknown"):
            yield Finding(what, "ok", model.task)
        elif model.name not in PULLABLE and model.state == "missing":
            yield Finding(what, "absent", model.task, model.remedy)
        else:
            yield Finding(what, "broken", f"{model.task}: {model.state}", model.remedy)


def _plugins() -> Iterator[Finding]:
    for group in ("padflow.nodes", "padflow.engines"):
        for entry in importlib.metadata.entry_points(group=group):
            if entry.dist is not None and entry.dist.name != "padflow":
                yield Finding(f"plugin {entry.name}", "ok", f"{group} from {entry.dist.name}")


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "absent": "yellow", "broken": "red"}
    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for column in ("state", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(finding.what, state, escape(finding.detail), escape(finding.remedy))
    Console(file=sys.stdout).print(table)
