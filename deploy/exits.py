"""Exit codes, and which error leads to which."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    WRONG_USE = 2
    """Wrong use or bad input: nothing was processed that could have been."""
    FAILED = 3
    """A source or an engine failed while running."""
    INTERRUPTED = 130


class UsageError(Exception):
    """Wrong use or bad input, told in one sentence: where, expected, found, what to do."""


class RunFailed(Exception):
    """A source or engine failed during the run, told in one sentence."""
