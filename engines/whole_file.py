"""Files that are whole or not there: written beside their place, then renamed into it.

For all layers above that write files, and for the engines' own caches.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write a file to, which takes the place of ``path`` where the block ends well.

    Where it does not, what was at ``path`` stays and what was written is removed. The name is of
    this writer alone: of two that write one file, the one that ends last has written all of it. It
    is hidden, ends in ``.part`` and is short, however long that of ``path`` is.

    Args:
        path: The file; its folder is there.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):  # must not hide why
            part.unlink(missing_ok=True)
        raise


def write_whole(
    path: Path, content: bytes | str, *, sync: bool = False, mode: int | None = None
) -> None:
    """Write a file so that it is either the old one or the whole new one.

    Args:
        path: The file; its folder is there.
        content: Bytes, or text that is written as UTF-8 with its line ends as they are.
        sync: Return only when the disk has the content; else a loss of power may take it.
        mode: Of the file; None: what the process gives to new files.
    """
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as part:
        with part.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
