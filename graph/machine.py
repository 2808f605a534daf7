"""What this process may use of its machine."""

import os


def processors() -> int:
    """Processors that this process may use: what a container or ``taskset`` leaves it."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
