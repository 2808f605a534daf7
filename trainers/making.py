"""Crop stores made by several processes at once, which go on where they were interrupted.

A store is made in chunks. A chunk has a seed of its own, and with it a pool of procedural people
and the draws of its shots, so that what a store holds depends neither on the number of processes
nor on interruptions: the table's seeds tell how far each chunk has come.
"""

import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import cv2

from ..engines.errors import EngineError
from ..engines.locks import sole_writer
from .attacks.people import FaceFinder, PersonPicture, trimmed
from .attacks.shots import ShotMaker, Species
from .crops import CropRow, CropStore, CropWriter, begin_store, open_crops
from .synthesis import (
    SHARES,
    SHOTS_PER_SEED,
    SynthesisParams,
    crops_of,
    identity_pool,
    row_of,
    shots,
)

ROWS_PER_SEED = 2000
"""Rows of a chunk where nothing else is asked for."""
_ROWS_PER_PART = 256
_CHILD: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    # Pictures are allocated and freed by the thousand: without these, every one of them asks the
    # kernel for fresh pages, which takes about half of the time.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}

Tell = Callable[[int], None]


class MakingError(EngineError):
    """A crop store cannot be made as asked."""

    wrong_use = True


class MakingFailed(MakingError):
    """A process that makes a crop store failed."""

    wrong_use = False


@dataclass(frozen=True, slots=True)
class StoreOrder:
    """What a store is to hold."""

    people: Sequence[PersonPicture]
    """Who is shown."""
    rows: int
    seed: int = 0
    """Of the first chunk; the others count up from it."""
    others: Sequence[PersonPicture] = ()
    """Who may lend features and bear media beside those shown."""
    rows_per_seed: int = ROWS_PER_SEED
    identities: int | None = None
    """Procedural people of a chunk; None: a sixth of its rows, 60 to 240."""
    strength: float = 1.0
    """Of their variation."""
    enlarge: float = 0.0
    """As in :class:`SynthesisParams`,"""
    shares: Mapping[Species, float] = field(default_factory=lambda: dict(SHARES))
    """and these."""
    until: float | None = None
    """Stop at this time (of :func:`time.time`) with what there is,"""
    least: int = 0
    """but not before a chunk has so many rows."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One seed's share of a store."""

    seed: int
    rows: int
    made: int
    """Rows that the store has already."""
    first: int
    """Number of the shot to go on with."""


@dataclass(slots=True)
class _Running:
    process: SpawnProcess
    told: Connection
    error: str = ""


@dataclass(slots=True)
class _Stop:
    """Set by a signal: finish the row, write what there is."""

    asked: bool = field(default=False)

    def ask(self, *_: object) -> None:
        self.asked = True


def chunks_of(order: StoreOrder, out: Path) -> list[Chunk]:
    """The chunks of an order that the store lacks, or lacks a part of.

    Raises:
        MakingError: the store shows people whom the order does not.
        CropStoreError: a part of the store is damaged.
    """
    done = _rows_of(out)
    strangers = sorted({row.person for row in done} - {p.person for p in order.people})
    if strangers:
        raise MakingError(
            f"{out}: expected a store of the people of these sources to go on with, found "
            f"{strangers[0]} in it; give another folder or the sources that it was made from"
        )
    by_seed: dict[int, list[int]] = {}
    for row in done:
        seed, number = divmod(row.seed, SHOTS_PER_SEED)
        by_seed.setdefault(seed, []).append(number)
    found = []
    for index in range(-(-order.rows // order.rows_per_seed)):
        rows = min(order.rows_per_seed, order.rows - index * order.rows_per_seed)
        numbers = by_seed.get(order.seed + index, [])
        if len(numbers) < rows:
            first = max(numbers, default=-1) + 1
            found.append(Chunk(order.seed + index, rows, len(numbers), first))
    return found


def make_store(
    order: StoreOrder, out: Path | str, *, workers: int = 1, tell: Tell | None = None
) -> CropStore:
    """Make a store, or what is lacking of it, in ``workers`` processes.

    Args:
        order: What it holds.
        out: Its folder.
        workers: Processes at once; each holds its own copy of the pictures.
        tell: Takes the number of rows there are so far, whenever it grows.

    Raises:
        MakingError: the order is empty or a process failed.
        CropStoreError: the folder is something else, or damaged, or a store that was begun with
            another order; only more rows may be asked of one.
        FolderInUse: another process is writing to the store.
    """
    out = Path(out)
    _check(order)
    with CropWriter(out):
        pass  # refuses a folder that is none of ours before any work is done
    with sole_writer(out):
        begin_store(out, lasting(order))
        chunks = chunks_of(order, out)
        made = len(_rows_of(out))
        if tell is not None:
            tell(made)
        _run(_trimmed(order), out, chunks, workers, made, tell or _nobody)
    return open_crops(out)


def make_chunk(
    order: StoreOrder, chunk: Chunk, out: Path, tell: Tell, stop: Callable[[], bool] = bool
) -> None:
    """Make the rest of one chunk in this process.

    Args:
        order: What the store holds.
        chunk: Which part of it.
        out: The store's folder.
        tell: Takes 1 for every row.
        stop: Says whether to stop early; what there is is written.
    """
    params = SynthesisParams(
        rows=chunk.rows,
        seed=chunk.seed,
        identities=order.identities or max(60, min(240, chunk.rows // 6)),
        strength=order.strength,
        enlarge=order.enlarge,
        shares=order.shares,
    )
    pool = identity_pool(
        order.people,
        [*order.people, *order.others],
        params.identities,
        chunk.seed,
        order.strength,
        order.enlarge,
    )
    with FaceFinder(matte=False) as finder, CropWriter(out, rows_per_part=_ROWS_PER_PART) as writer:
        maker = ShotMaker(pool, finder, [*pool, *order.others])
        count = chunk.made
        for shot in shots(maker, params, chunk.made, chunk.first):
            writer.add(row_of(shot), crops_of(shot))
            count += 1
            tell(1)
            late = order.until is not None and time.time() >= order.until
            if stop() or (late and count >= order.least):
                break


def _check(order: StoreOrder) -> None:
    if not order.people:
        raise MakingError("synthesis: expected pictures of people to show, found none")
    for name in ("rows", "rows_per_seed"):
        if getattr(order, name) < 1:
            raise MakingError(f"{name}: expected 1 or more, found {getattr(order, name)}")
    if not 0 < sum(order.shares.values()) < math.inf:
        raise MakingError(f"shares: expected a sum above 0, found {dict(order.shares)}")
    if order.seed < 0:
        raise MakingError(f"seed: expected 0 or more, found {order.seed}")


def lasting(order: StoreOrder) -> dict[str, Any]:
    """What must stay the same from the first row to the last."""
    return {
        "made by": "synthesis",
        "seed": order.seed,
        "rows_per_seed": order.rows_per_seed,
        "identities": order.identities,
        "strength": order.strength,
        "enlarge": order.enlarge,
        "share": {name: round(100 * order.shares.get(name, 0.0), 6) for name in SHARES},
        "people": _pictures(order.people),
        "lenders": _pictures(order.others),
    }


def _pictures(people: Sequence[PersonPicture]) -> dict[str, dict[str, int]]:
    """How many pictures there are of each person from each file."""
    found: dict[str, dict[str, int]] = {}
    for picture in people:
        files = found.setdefault(picture.person, {})
        file = picture.source.partition("#")[0]
        files[file] = files.get(file, 0) + 1
    return found


def _trimmed(order: StoreOrder) -> StoreOrder:
    return replace(
        order,
        people=[trimmed(picture) for picture in order.people],
        others=[trimmed(picture) for picture in order.others],
    )


def _rows_of(out: Path) -> Sequence[CropRow]:
    return open_crops(out).rows if any(out.glob("part-*")) else ()


def _nobody(rows: int) -> None:
    del rows


def _run(
    order: StoreOrder, out: Path, chunks: Sequence[Chunk], workers: int, made: int, tell: Tell
) -> None:
    waiting = list(chunks)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_started(order, waiting.pop(0), out))
            ready = wait([one.told for one in running])
            for one in [one for one in running if one.told in ready]:
                rows = _heard(one)
                if rows is None:
                    running.remove(one)
                    _ended(one)
                    continue
                made += rows
                if rows:
                    tell(made)
    finally:
        for one in running:
            one.process.terminate()  # it writes what it has
        for one in running:
            one.process.join()
            one.told.close()


def _heard(one: _Running) -> int | None:
    """Rows that a process tells of; None: it has ended."""
    try:
        found = one.told.recv()
    except (EOFError, OSError):
        return None
    if isinstance(found, str):
        one.error = found
        return 0
    return int(found)


def _ended(one: _Running) -> None:
    one.process.join()
    one.told.close()
    if one.error or one.process.exitcode:
        why = one.error or f"it ended with exit code {one.process.exitcode}"
        raise MakingFailed(
            f"synthesis: a process could not go on: {why}; the rows that are written are kept, "
            "run the same command again to go on"
        )


def _started(order: StoreOrder, chunk: Chunk, out: Path) -> _Running:
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(order, chunk, str(out), there), daemon=True)
    with _environment(_CHILD):
        process.start()
    there.close()
    return _Running(process, here)


@contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
    """Variables for children that are started meanwhile; those that are set stay as they are."""
    new = {name: value for name, value in names.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _work(order: StoreOrder, chunk: Chunk, out: str, told: Connection) -> None:
    """What a process does."""
    stop = _Stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us in order
    signal.signal(signal.SIGTERM, stop.ask)
    cv2.setNumThreads(1)
    try:
        make_chunk(order, chunk, Path(out), told.send, lambda: stop.asked)
    except BrokenPipeError:
        pass  # the parent is gone
    except EngineError as error:
        told.send(str(error))
    except Exception as error:
        told.send(
            f"{type(error).__name__}: {error} ({traceback.format_tb(error.__traceback__)[-1]})"
        )
    finally:
        told.close()
