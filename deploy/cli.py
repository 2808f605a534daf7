"""The command line: parse, dispatch, and turn every error into one sentence and an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from .. import __version__
from .exits import Exit, RunFailed, UsageError

COMMANDS = {
    "run": "watch sources and print a verdict for every face",
    "top": "show streams and stages of a run live, from its --metrics-port",
    "up": "run a graph over many cameras on a Ray cluster and leave it running",
    "streams": "list, add, remove, pause and resume the streams of a running cluster",
    "down": "end what 'padflow up' started",
    "check": "prove from an event log that a run kept its promises",
    "score": "score images, videos or folders of frames into a CSV",
    "evaluate": "measure error rates on a labelled dataset and write a report",
    "synthesise": "make a crop store of live and attack shots from footage of living people",
    "crops": "make a crop store from labelled footage",
    "evidence": "keep what every cue says of labelled recordings, for fusion and studies",
    "sequences": "make a sequence store from labelled videos, for the motion network",
    "study": "tell what networks are worth: synthetic protocols, real sequences, live clips",
    "train": "train a network on crop stores, or adapt one to a site, and write its bundle",
    "attacks": "make labelled videos of attacks from clips or portraits",
    "models": "list, pull, add, verify or build models",
    "graph": "show a graph and its plan",
    "demo": "render an access-control feed with attacks and run padflow on it",
    "bench": "measure this machine",
    "doctor": "tell what is installed and usable here, and what to do about each lack",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 wrong use, 3 failed, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    if args.command is None:
        parser.print_help()
        return Exit.WRONG_USE
    return _dispatch(args)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="padflow",
        description="Face presentation-attack detection for live camera streams.",
        epilog="exit codes: 0 done; 2 wrong use, or nothing could be processed; 3 something "
        "failed, as the last lines say; 130 interrupted. 'padflow COMMAND --help' tells "
        "the options.",
    )
    parser.add_argument("--version", action="version", version=f"padflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    wanted = next((word for word in words if word in COMMANDS), None)
    for name, help_text in COMMANDS.items():
        sub = commands.add_parser(name, help=help_text, description=help_text)
        if name == wanted:  # only the named command's module is imported
            _module(name).add_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show tracebacks and debug logs")
    return parser


def _module(command: str):  # type: ignore[no-untyped-def]  # modules share a duck-typed interface
    return importlib.import_module(f".commands.{command}", __package__)


def _dispatch(args: argparse.Namespace) -> int:
    _set_up_logging(args.debug)
    try:
        return int(_module(args.command).run(args))
    except KeyboardInterrupt:
        _say("interrupted: everything written so far is whole")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (``padflow run … | head``): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich's way to tell the same
            return Exit.DONE
        raise
    except Exception as error:
        if args.debug:
            raise
        code = _exit_code(error)
        if code is None:
            _say(
                f"padflow {args.command}: unexpected {type(error).__name__}: {_one_line(error)}; "
                "this is a fault of padflow: please report it with the output of --debug"
            )
            return Exit.FAILED
        _say(f"padflow {args.command}: {_one_line(error)}")
        return code


def _exit_code(error: Exception) -> Exit | None:
    """The code of an error that we know how to tell; None for one that we do not."""
    from ..engines.errors import EngineError
    from ..graph.errors import GraphError

    if isinstance(error, (EngineError, GraphError)):
        return Exit.WRONG_USE if error.wrong_use else Exit.FAILED
    if isinstance(error, (UsageError, OSError)):
        return Exit.WRONG_USE
    return Exit.FAILED if isinstance(error, RunFailed) else None


def _one_line(error: Exception) -> str:
    from ..nodes.sources import redact

    return redact(" ".join(_told(error).split()))


def _told(error: Exception) -> str:
    """The text of an error; of the system's own what, where and what to do, without its number."""
    if not (isinstance(error, OSError) and error.filename and error.strerror):
        return str(error)
    told = f"{os.fsdecode(error.filename)}: {error.strerror}"
    of_path = FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError
    return f"{told}; check the path and its permissions" if isinstance(error, of_path) else told


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _set_up_logging(debug: bool) -> None:
    import logging

    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


if __name__ == "__main__":
    raise SystemExit(main())
