"""What a source's address means, and how to speak of it without giving its credentials away."""

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

SourceKind = Literal["file", "still", "folder", "camera", "rtsp", "http"]

PICTURES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
)
"""Suffixes of still pictures, lower case."""

_SCHEMES: dict[str, SourceKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE_SCHEME = re.compile(r"file://(localhost(?=/))?", re.IGNORECASE)
_CAMERA = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/.+)")
_FRAME_NUMBER = re.compile(r"%0?(\d*)d")
_EXPECTED = (
    "expected a video file, a picture, a folder of pictures, rtsp://, rtsps://, http://, https:// "
    "or /dev/videoN"
)


class SourceError(OSError):
    """A source cannot be what its address says; the text is one sentence without credentials."""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """A source's address, understood."""

    uri: str
    """As given: holds credentials, never to be shown."""
    kind: SourceKind
    pictures: tuple[Path, ...] = ()
    """The pictures of a folder in their natural order."""

    @property
    def live(self) -> bool:
        """Whether the source is one to stay connected to (http is until it is known to end)."""
        return self.kind in ("camera", "rtsp", "http")

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return shown_address(self.uri)

    @property
    def path(self) -> Path:
        """Where a file, still picture, folder or device is."""
        return _path(self.uri)


def parse_source(uri: str) -> SourceAddress:
    """Understand a source's address; opens nothing, so that nothing can hang.

    Raises:
        SourceError: what is there is no source, in one sentence.
    """
    scheme = _SCHEME.match(uri)
    if scheme and scheme[1].lower() != "file":
        return _network(uri, scheme[1].lower())
    try:
        return _local(uri)
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _refused(uri, why.lower(), "check the path and its permissions") from error


def name_source(uri: str, taken: Collection[str] = ()) -> str:
    """A stream name for a source: short, unique among those taken, without credentials.

    Unique as part of a file's name too.
    """
    if _SCHEME.match(uri) and not uri.lower().startswith("file://"):
        shown = urlsplit(shown_address(uri))
        host = shown.netloc.rpartition("@")[2]
        base = f"{host}{shown.path}".rstrip("/")
    else:
        path = _path(uri)
        base = path.stem if path.suffix and not _CAMERA.fullmatch(str(path)) else path.name
    base = readable(base) or "source"
    name, number = base, 2
    files = {safe_name(other) for other in taken}
    while safe_name(name) in files:
        name, number = f"{base}-{number}", number + 1
    return name


@lru_cache(maxsize=4096)
def safe_name(stream: str) -> str:
    """The stream's name as part of a file name."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stream)
    return kept.strip(".") or "stream"


_SECRET_NAME = (
    r"[\w.-]*(?:token|passw(?:or)?d|passwd|passphrase|pwd|secret|signature|credential|jwt|apikey)"
    r"[\w.-]*|(?:[\w.-]*[_.-])?(?:pass|pw|psw|key|auth|sig|sas|session|sid|usr|user|username|login)"
    r"|loginuse|loginpas"  # as many cameras of one make have it
)
_QUERY_SECRET = re.compile(rf"(?i)((?:^|[^A-Za-z0-9.-])(?:{_SECRET_NAME})=)[^&\s'\"<>#;,]+")
_HEADER_SECRET = re.compile(r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*)(?:[a-z]+\s+)?[^\s'\"]+")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)((?:[^\s'\"<>/?#@:]+:[^\s/?#@]*@)?[^\s'\"<>]+)")
"""In running text a quote ends an address, unless it is in what must be a password."""
_ENDS_ADDRESS = re.compile(r"[\s'\"<>]")
_WITHOUT_USER = re.compile(
    r"(?:[^/?#@:]+(?::(?:80|322|443|554|8000|8080|8443|8554|8888)?)?|\d+(?:\.\d+){3}:\d+)(?:[/?#].*)?"
)
"""A host, with a usual port or as a number, and a path: with other digits behind the colon an ``@``
in the path may as well end a password of digits with an unescaped slash in it."""


def redact(text: str) -> str:
    """A text with every credential in it replaced by ``***``.

    Takes out user and password before a host, values of query parameters and path parts named
    like a secret (token=, password=, key=, user=, …) and Authorization headers. Rather takes out
    too much: what stands before an ``@`` that may end a password goes.
    """
    text = _URL.sub(_without_user, text)
    text = _HEADER_SECRET.sub(r"\1***", text)
    return _QUERY_SECRET.sub(r"\1***", text)


def readable(name: str) -> str:
    r"""A file's name as text that can be written: what is no UTF-8 in it stands as ``\xff``.

    Linux lets names be any bytes, and Python hands them on as characters that no encoding has.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown_address(uri: str) -> str:
    """A source's whole address without credentials, whatever characters they are made of."""
    uri = readable(uri)
    if _SCHEME.match(uri):
        uri = _ENDS_ADDRESS.sub(lambda match: quote(match[0]), uri)
    return redact(uri)


def _without_user(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        cut = authority.rindex("@") + 1
    elif "@" in rest and not _WITHOUT_USER.fullmatch(rest):
        cut = rest.rindex("@") + 1  # a password with an unescaped slash in it
    else:
        return match[0]
    return f"{scheme}***@{rest[cut:]}"


def _network(uri: str, scheme: str) -> SourceAddress:
    if scheme not in _SCHEMES:
        raise _refused(uri, f"{scheme}://", "give one of these")
    try:
        host, _ = urlsplit(uri).hostname, urlsplit(uri).port
    except ValueError:
        host = None
    if not host:
        raise SourceError(
            f"source {shown_address(uri)}: expected a host after {scheme}://, found none that can "
            "be read; check the address (characters like @ / # in a password must be %-escaped)"
        )
    return SourceAddress(uri, _SCHEMES[scheme])


def _local(uri: str) -> SourceAddress:
    path = _path(uri)
    if _CAMERA.fullmatch(str(path)):
        return SourceAddress(uri, "camera")
    if not os.path.lexists(path) and (_FRAME_NUMBER.search(path.name) or _is_glob(path.name)):
        return _pattern(uri, path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        found = [p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file()]
        return _folder(uri, found)
    if not stat.S_ISREG(mode):
        raise _refused(uri, _special(mode), "give the file or the camera itself")
    if path.stat().st_size == 0:
        raise _refused(uri, "an empty file", "check how it was written")
    if not os.access(path, os.R_OK):
        raise _refused(uri, "a file that may not be read", "check its permissions")
    return SourceAddress(uri, "still" if path.suffix.lower() in PICTURES else "file")


def _path(uri: str) -> Path:
    scheme = _FILE_SCHEME.match(uri)
    if scheme is None:
        return Path(uri)
    # No name has characters below 0x20, but lists of pictures have a %05d.
    escaped = re.sub(r"%(?=[01])", "%25", uri[scheme.end() :])
    return Path(unquote(escaped, errors="surrogateescape"))


def _is_glob(name: str) -> bool:
    return any(c in name for c in "*?[")


def _pattern(uri: str, path: Path) -> SourceAddress:
    """A numbered (``%05d.jpg``) or a globbed (``*.jpg``) list of pictures."""
    if not _FRAME_NUMBER.search(path.name):
        return _folder(uri, [p for p in path.parent.glob(path.name) if p.is_file()])
    before, digits, after = _FRAME_NUMBER.split(path.name, maxsplit=1)
    number = rf"\d{{{int(digits)},}}" if digits else r"\d+"
    wanted = re.compile(re.escape(before) + number + re.escape(after))
    return _folder(uri, [p for p in path.parent.iterdir() if wanted.fullmatch(p.name)])


def _folder(uri: str, found: list[Path]) -> SourceAddress:
    if not found:
        kinds = ", ".join(sorted(PICTURES))
        raise SourceError(
            f"source {shown_address(uri)}: expected pictures ({kinds}), found none; check the path"
        )
    return SourceAddress(uri, "folder", tuple(sorted(found, key=natural_order)))


def natural_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which frame 2 comes before frame 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts)


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a block device" if stat.S_ISBLK(mode) else "a device that is no camera"


def _refused(uri: str, found: str, advice: str) -> SourceError:
    return SourceError(f"source {shown_address(uri)}: {_EXPECTED}, found {found}; {advice}")
