"""Two hundred broken inputs, the same on every machine: what cameras, disks and people produce."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

SEED = 20261124
CONTAINERS = ("mp4", "mkv", "ts", "avi")
FRAMES = 30


def make_mangled(folder: Path, count: int = 200) -> list[Path]:
    """Write ``count`` mangled inputs below ``folder``; seeded, so that failures repeat."""
    rng = np.random.default_rng(SEED)
    whole = _whole_inputs(folder / "whole")
    made: list[Path] = []
    target = folder / "mangled"
    target.mkdir()
    for path in _oddities(target):
        made.append(path)
    damages: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
        _cut,
        _flip_bits,
        _reorder,
        _zero_run,
        _repeat_run,
        _drop_head,
        _drop_middle,
    )
    while len(made) < count:
        number = len(made)
        source = whole[number % len(whole)]
        damage = damages[(number // len(whole)) % len(damages)]
        wrong = whole[int(rng.integers(len(whole)))].suffix
        suffix = wrong if rng.random() < 0.2 else source.suffix
        path = target / f"{number:03d}_{damage.__name__.strip('_')}{suffix}"
        path.write_bytes(damage(source.read_bytes(), rng))
        made.append(path)
    return made


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture with structure at every scale, uint8 RGB (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _whole_inputs(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [_clip(folder / f"clip.{container}") for container in CONTAINERS]
    for suffix in ("jpg", "png"):
        path = folder / f"still.{suffix}"
        cv2.imwrite(str(path), picture(320, 240))
        paths.append(path)
    return paths


def _clip(path: Path) -> Path:
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=15)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        base = picture(400, 300)
        for index in range(FRAMES):
            view = np.ascontiguousarray(base[index : index + 240, 2 * index : 2 * index + 320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _oddities(folder: Path) -> Iterator[Path]:
    yield _written(folder / "zero_bytes.mp4", b"")
    yield _written(folder / "zero_bytes.jpg", b"")
    yield _written(folder / "text.mp4", b"this is not a video\n" * 40)
    yield _written(folder / "text.txt", b"hello\n")
    yield _written(folder / "script.png", b"#!/bin/sh\necho no picture\n")
    yield _written(folder / "nulls.mkv", bytes(4096))
    yield _written(folder / "noise.ts", np.random.default_rng(1).bytes(188 * 40))
    yield _written(folder / "empty_size.png", _png_header(0, 0))
    yield _written(folder / "zero_width.png", _png_header(0, 64))
    yield _written(folder / "huge_claim.png", _png_header(2**31 - 1, 2**31 - 1))
    yield _written(folder / "no suffix", b"\xff\xd8\xff")
    yield _written(folder / "käse ünd ☕.mp4", b"not media")
    yield _flat_picture(folder / "wide_16k.png", 16384, 64)
    yield _flat_picture(folder / "square_16k.png", 16384, 16384)
    yield _flat_picture(folder / "one_pixel.png", 1, 1)
    yield _flat_picture(folder / "two_by_three.jpg", 2, 3)
    empty = folder / "empty_directory"
    empty.mkdir()
    yield empty
    mixed = folder / "directory_of_text"
    mixed.mkdir()
    _written(mixed / "a.txt", b"a")
    yield mixed
    broken = folder / "directory_of_broken_pictures"
    broken.mkdir()
    _written(broken / "1.jpg", b"\xff\xd8\xff\xe0 broken")
    _written(broken / "2.jpg", b"")
    yield broken
    fifo = folder / "fifo.mp4"
    os.mkfifo(fifo)
    yield fifo
    dangling = folder / "dangling.mp4"
    dangling.symlink_to(folder / "nowhere.mp4")
    yield dangling
    yield folder / "missing.mp4"


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _flat_picture(path: Path, width: int, height: int) -> Path:
    cv2.imwrite(str(path), np.full((height, width), 127, np.uint8))
    return path


def _png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, len(damaged), int(rng.integers(1, 60)))
    damaged[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    return damaged.tobytes()


def _reorder(data: bytes, rng: np.random.Generator) -> bytes:
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    return b"".join(blocks[i] for i in rng.permutation(len(blocks)))


def _zero_run(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    return data[:start] + bytes(end - start) + data[end:]


def _repeat_run(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    return data[:end] + data[start:end] + data[end:]


def _drop_head(data: bytes, rng: np.random.Generator) -> bytes:
    return data[int(rng.integers(1, len(data))) :]


def _drop_middle(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    return data[:start] + data[end:]
