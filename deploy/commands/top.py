"""``padflow top``: streams and stages of a running graph, live in the terminal."""

import argparse

from ..exits import UsageError

DEFAULT_URL = "http://127.0.0.1:9464/metrics"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose metrics, and how often."""
    parser.add_argument(
        "url",
        nargs="?",
        default=DEFAULT_URL,
        metavar="URL",
        help="metrics page of a run that was started with --metrics-port (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="print one table and end")
    parser.add_argument(
        "--period", type=float, default=1.0, metavar="S", help="seconds between two looks"
    )


def run(args: argparse.Namespace) -> int:
    """Show until Ctrl-C, or once."""
    from ..scraping import metrics_url
    from ..top import top

    if not 0.1 <= args.period <= 3600:
        raise UsageError(f"--period {args.period}: expected 0.1 to 3600 seconds; give another")
    return top(metrics_url(args.url), once=args.once, period=args.period)
