"""Labels kept on disk, so that they are made once.

    root/
        depth-v1/
            <name>-<key>/
                about.json      what the labels were made from
                <array>.npy     one file an array

The key is a hash of the kind and version of the label, of the source's bytes and of the mesh
engine's: where one of them changes, the labels are made anew. An entry is written aside and
renamed, so that it is whole or absent, and several processes may share a cache.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engines.errors import EngineError
from ..attacks.parameters import Array

ABOUT = "about.json"
_PIECE = 1 << 20


class LabelCacheError(EngineError):
    """Labels cannot be kept or read as asked."""


@dataclass(frozen=True, slots=True)
class LabelOrigin:
    """What labels are made from."""

    kind: str
    """Such as ``depth`` or ``pulse``."""
    version: int
    """Of the way they are made, such as ``DEPTH_VERSION``."""
    source_sha256: str
    """Of the clip or picture: :func:`source_sha256`."""
    engine_sha256: str
    """Of the mesh network."""

    @property
    def key(self) -> str:
        """32 hexadecimal digits that change when any of these does."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @property
    def text(self) -> str:
        """All of it as JSON."""
        return json.dumps(
            {
                "engine_sha256": self.engine_sha256,
                "kind": self.kind,
                "source_sha256": self.source_sha256,
                "version": self.version,
            }
        )


def source_sha256(source: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files with their names, in order.

    Raises:
        LabelCacheError: There is nothing to read.
    """
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        lines = [f"{path.relative_to(source).as_posix()}\0{_digest(path)}\n" for path in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return _digest(source)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise LabelCacheError(
            f"{path}: cannot be read: {error.strerror}; give a clip, a picture or a folder"
        ) from error
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class LabelCache:
    """A folder of labels."""

    root: Path

    def labels(
        self, name: str, origin: LabelOrigin, make: Callable[[], Mapping[str, Array]]
    ) -> dict[str, Array]:
        """The labels of a source: kept ones, or made and kept now.

        Args:
            name: For people who look into the folder: the source's name without its folder.
            origin: What they are made from.
            make: Makes the arrays by name, where there are none. If it raises, nothing is kept.

        Returns:
            The arrays by name, as read-only memory maps.

        Raises:
            LabelCacheError: What was kept is damaged, or nothing can be written.
        """
        entry = self.entry(name, origin)
        if not entry.is_dir():
            _write(entry, origin, make())
        return _read(entry, origin)

    def entry(self, name: str, origin: LabelOrigin) -> Path:
        """The folder of a source's labels, there or not."""
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".")
        return self.root / f"{origin.kind}-v{origin.version}" / f"{plain[:80]}-{origin.key}"


def _write(entry: Path, origin: LabelOrigin, arrays: Mapping[str, Array]) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
        try:
            for name, array in arrays.items():
                np.save(aside / f"{name}.npy", array, allow_pickle=False)
            (aside / ABOUT).write_text(origin.text + "\n", encoding="utf-8")
            aside.chmod(0o755)
            try:
                os.rename(aside, entry)
            except OSError:
                if not entry.is_dir():  # else another process was faster with the same labels
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise LabelCacheError(
            f"{entry.parent}: labels cannot be written: {error.strerror}; "
            "free space or give another folder"
        ) from error


def _read(entry: Path, origin: LabelOrigin) -> dict[str, Array]:
    try:
        if (entry / ABOUT).read_text(encoding="utf-8").strip() != origin.text:
            raise LabelCacheError(
                f"{entry / ABOUT}: expected the labels' own origin, found another; "
                "remove the folder and they are made anew"
            )
        return {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
            for path in sorted(entry.glob("*.npy"))
        }
    except (OSError, ValueError, EOFError) as error:
        raise LabelCacheError(
            f"{entry}: labels cannot be read: {error}; remove the folder and they are made anew"
        ) from error
