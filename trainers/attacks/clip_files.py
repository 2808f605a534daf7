"""Labelled videos on disk: H.264 files, their labels and parameters, and a sheet to look at."""

import ast
import csv
import inspect
import io
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from pydantic import TypeAdapter

from ...engines.errors import EngineError
from ...engines.whole_file import whole_file, write_whole
from .clips import Clip, ClipParams
from .codec import CodecParams
from .parameters import Array

LABELS, PERSONS, PARAMETERS, SHEET = (
    "labels.csv",
    "persons.csv",
    "parameters.json",
    "contact-sheet.png",
)
_COLUMNS = ("item", "label", "species", "instrument", "person", "medium", "camera", "seed", "onset")
_FINE = {"crf": "17", "preset": "veryfast"}
"""For cameras whose own codec is another: the file adds next to nothing."""
_TILE = (240, 180)
_TILES, _MOST_ROWS = 4, 40


def item_path(params: ClipParams, name: str) -> str:
    """Where a video lies below the folder: ``live/`` or ``attack/<species>/<kind>/``."""
    if params.species == "live":
        return f"live/{name}.mp4"
    return f"attack/{params.species}/{params.instrument.partition(':')[2]}/{name}.mp4"


def write_clip(clip: Clip, path: Path) -> None:
    """Render and encode a video; the file is whole or not there.

    One encoder thread, so that the same pictures give the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        params = clip.params
        _encode(clip.pictures(), part, params.stage.size, params.fps, params.codec)


def _encode(
    pictures: Iterable[Array], path: Path, size: tuple[int, int], fps: int, codec: CodecParams
) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1
        stream.gop_size = codec.gop
        stream.options = {"tune": "zerolatency", **_FINE}
        if codec.h264 and codec.crf is not None:
            stream.options |= {"crf": f"{codec.crf:.2f}", "preset": codec.preset}
        elif codec.h264:
            rate = int(codec.bits_per_pixel * size[0] * size[1] * fps)
            stream.bit_rate = rate
            held = {"maxrate": str(rate * 3 // 2), "bufsize": str(rate), "preset": codec.preset}
            stream.options = {"tune": "zerolatency", **held}
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame = frame.reformat(format="yuv420p", threads=1)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class ListsError(EngineError):
    """A folder's lists are not those that ``padflow attacks`` writes."""

    wrong_use = True


class Lists(NamedTuple):
    """What a folder's lists say of its videos, by item."""

    labels: Mapping[str, Sequence[object]]
    persons: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, Any]]


def read_lists(folder: Path) -> Lists:
    """What earlier runs said of videos that are still there: theirs are kept beside new ones.

    Raises:
        ListsError: a list is there that is none of ours.
    """
    try:
        labels = {row["item"]: [row[name] for name in _COLUMNS] for row in _rows(folder / LABELS)}
        persons = {row["item"]: row["person"] for row in _rows(folder / PERSONS)}
        path = folder / PARAMETERS
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        parameters = {one["item"]: one for one in told}
        there = [item for item in labels if (folder / item).is_file()]
        return Lists(
            {item: labels[item] for item in there},
            {item: persons[item] for item in there},
            {item: parameters[item] for item in there},
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ListsError(
            f"{folder}: expected lists that padflow attacks wrote, or none, found "
            f"{type(error).__name__}: {error}; give another folder"
        ) from error


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_lists(folder: Path, made: Sequence[ClipParams], before: Lists) -> None:
    """Labels, persons and parameters of what has been made so far, each written whole.

    Args:
        folder: where the videos are.
        made: those of this run.
        before: those of earlier ones; of an item that was made anew, what is new counts.
    """
    rows: list[Sequence[object]] = [
        (p.item, "live" if p.species == "live" else "attack", p.species, p.instrument, p.person,
         p.medium, f"camera-{p.stage.camera:02d}", p.seed, p.raised.after if p.raised else "")
        for p in made
    ]  # fmt: skip
    labels = {**before.labels, **{str(row[0]): row for row in rows}}
    persons = {**before.persons, **{p.item: p.person for p in made}}
    parameters = {**before.parameters, **{p.item: asdict(p) for p in made}}
    write_whole(folder / LABELS, _table((_COLUMNS, *labels.values())))
    write_whole(folder / PERSONS, _table((("item", "person"), *persons.items())))
    text = json.dumps(list(parameters.values()), indent=1, allow_nan=False, default=_plain)
    write_whole(folder / PARAMETERS, text + "\n")


def _table(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"parameters: expected numbers, words and lists, found {type(value).__name__}")


def write_sheet(folder: Path, made: Sequence[ClipParams]) -> None:
    """Four frames of each video, read from the files; of many videos an even choice."""
    chosen = made
    if len(made) > _MOST_ROWS:
        picks = np.linspace(0, len(made) - 1, _MOST_ROWS).round().astype(int)
        chosen = [made[int(pick)] for pick in picks]
    strips = [_strip(folder / params.item, params) for params in chosen]
    if len(strips) > 10:  # two columns
        strips += [np.zeros_like(strips[0])] * (len(strips) % 2)
        strips = [np.hstack(pair) for pair in zip(strips[::2], strips[1::2], strict=True)]
    _, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR))
    write_whole(folder / SHEET, data.tobytes())


def _strip(path: Path, params: ClipParams) -> Array:
    wanted = np.linspace(0, params.frames - 1, _TILES).round().astype(int).tolist()
    tiles: dict[int, Array] = {}
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                tiles[index] = _tile(frame.to_ndarray(format="rgb24"))
    blank = np.zeros((_TILE[1], _TILE[0], 3), np.uint8)
    row = np.hstack([tiles.get(index, blank) for index in wanted])
    title = np.zeros((22, row.shape[1], 3), np.uint8)
    words = f"{params.instrument or 'live'}  {params.medium}  {params.sensor.name}  {params.item}"
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(title, words, (6, 15), font, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([title, row])


def _tile(image: Array) -> Array:
    """The picture within a tile, its proportions kept."""
    height, width = image.shape[:2]
    scale = min(_TILE[0] / width, _TILE[1] / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    tile = np.zeros((_TILE[1], _TILE[0], 3), np.uint8)
    x, y = (_TILE[0] - size[0]) // 2, (_TILE[1] - size[1]) // 2
    tile[y : y + size[1], x : x + size[0]] = small
    return tile


def parameter_schema() -> dict[str, Any]:
    """The JSON schema of ``parameters.json``: every parameter with its range and meaning."""
    schema = TypeAdapter(list[ClipParams]).json_schema()
    for name, definition in schema["$defs"].items():
        meanings = _meanings(_classes()[name]) if name in _classes() else {}
        for field, described in definition.get("properties", {}).items():
            if field in meanings:
                described["description"] = meanings[field]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _classes() -> dict[str, type]:
    """The dataclasses of this folder by name."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith(f"{__package__}.")]
    found = (value for module in modules for value in vars(module).values())
    return {c.__name__: c for c in found if isinstance(c, type) and is_dataclass(c)}


def _meanings(kind: type) -> dict[str, str]:
    """What stands below each field of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef), kind
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                found[name] = " ".join(str(text).split())
    return found
