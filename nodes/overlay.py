"""Draws what is known of the faces over a picture: boxes, verdicts, the cues' bars, the pulse.

Pure drawing on uint8 RGB arrays; sizes follow the picture's height, so that a 300-line picture and
a 1080-line one read alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .payloads import Box, DepthMap, PulseTrace

Colour = tuple[int, int, int]
Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

TEXT: Colour = (232, 236, 241)
DIM: Colour = (157, 166, 176)
PANEL: Colour = (16, 20, 26)
TRACK_LINE: Colour = (70, 78, 88)
FOR_LIVE: Colour = (76, 185, 110)
FOR_ATTACK: Colour = (229, 83, 75)
PULSE: Colour = (94, 190, 205)
WARNING: Colour = (226, 170, 63)
STATE_COLOURS: Mapping[str, Colour] = {
    "LIVE": FOR_LIVE,
    "SPOOF": FOR_ATTACK,
    "UNDECIDED": WARNING,
}
PANEL_OPACITY = 0.74
BAR_NATS = 6.0
"""Ratio at which a cue's bar is full."""
PULSE_SECONDS = 8.0
"""Length of the drawn pulse wave."""
FINER = 4
"""Text is drawn this many times larger and averaged down."""
DEPTH_ROWS = 3
"""Height of the drawn depth map, in lines of text."""
STALE_AFTER = 0.3
"""Seconds after which a face that was not seen again is drawn faint."""


@dataclass(frozen=True, slots=True)
class FaceView:
    """What to draw of one face."""

    track: int
    box: Box
    age: float = 0.0
    """Seconds since the box was observed."""
    verdict: Mapping[str, Any] | None = None
    """Data of the newest verdict event."""
    holds: float | None = None
    """Share of the verdict's life that is left, 0 to 1; 0: expired."""
    trace: PulseTrace | None = None
    depth: DepthMap | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What to draw over one picture."""

    stream: str
    time: float
    """Capture time in seconds."""
    faces: Sequence[FaceView] = ()
    warning: str = ""
    """Trouble with the picture or the source, in words."""


@dataclass(slots=True)
class Overlay:
    """Draws views; remembers where each face's card stood, so that cards do not jump about."""

    private: bool = False
    """Write the heart rate as a number."""
    sides: dict[int, int] = field(default_factory=dict)

    def draw(self, image: np.ndarray, view: View) -> None:
        """Draw over an RGB picture, uint8 (height, width, 3), in place."""
        faces = sorted(view.faces, key=lambda face: (-face.box.w * face.box.h, face.track))
        boxes = [_rect(face.box) for face in faces]
        unit = font_size(image.shape[0])
        for face, box in zip(faces, boxes, strict=True):
            draw_box(image, box, face_colour(face), unit, faint=face.age > STALE_AFTER)
        status = draw_status(image, view, unit)
        cards = [Card(face, unit, view.time, self.private) for face in faces]
        for card, place in zip(cards, self.layout(image.shape, cards, status), strict=True):
            card.draw(image, place)

    def layout(self, shape: tuple[int, ...], cards: Sequence["Card"], status: Rect) -> list[Rect]:
        """Where each card goes, the first ones first, off the status line."""
        boxes = [_rect(card.face.box) for card in cards]
        taken = [status]
        for card, box in zip(cards, boxes, strict=True):
            others = [other for other in boxes if other is not box]
            taken.append(self._place(shape, card, card.face.track, box, others, taken))
        self.sides = {card.face.track: self.sides[card.face.track] for card in cards}
        return taken[1:]

    def _place(
        self,
        shape: tuple[int, ...],
        card: "Card",
        track: int,
        box: Rect,
        others: Sequence[Rect],
        taken: Sequence[Rect],
    ) -> Rect:
        """Where the card goes: beside its face if there is room, else its header alone."""
        places = [_inside(place, shape) for place in _around(box, card.size, card.gap)]
        costs = [_cost(place, box, others, taken) for place in places]
        best = min(range(len(places)), key=lambda i: (costs[i], i))
        before = self.sides.get(track, best)
        if costs[before] <= costs[best] + 0.1:
            best = before
        self.sides[track] = best
        if costs[best] < 1.0:
            return places[best]
        tags = [_inside(tag, shape) for tag in _around(box, card.tag_size, 0)]
        return min(tags, key=lambda tag: _cost(tag, box, others, taken))


class Card:
    """The panel beside a face."""

    def __init__(self, face: FaceView, unit: int, time: float, private: bool) -> None:
        self.face = face
        self.unit = unit
        self.time = time
        self.private = private
        verdict = face.verdict or {}
        self.evidence: Sequence[Mapping[str, Any]] = verdict.get("evidence", ())
        self.reasons = [words(reason) for reason in verdict.get("reasons", ())][:2]
        self.row = round(unit * 1.42)
        self.pad = round(unit * 0.55)
        self.gap = round(unit * 0.7)
        self.width = round(unit * 15.5)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the whole card."""
        rows = 1 + len(self.reasons) + len(self.evidence) + (2 if self.face.trace else 0)
        rows += DEPTH_ROWS if self.face.depth else 0
        return self.width, rows * self.row + 3 * self.pad

    @property
    def tag_size(self) -> tuple[int, int]:
        """Width and height in pixels of the header alone."""
        return round(self.unit * 11.0), self.row + self.pad

    def draw(self, image: np.ndarray, rect: Rect) -> None:
        """Draw the card or, if the place is only as high as a header, the header."""
        x, y, w, h = rect
        tint(image, rect, PANEL, PANEL_OPACITY)
        tint(image, (x, y, max(2, self.unit // 5), h), face_colour(self.face), 1.0)
        inner = (x + self.pad + self.unit // 5, w - 2 * self.pad - self.unit // 5)
        top = y + self.pad // 2
        self._header(image, inner, top)
        if h <= self.tag_size[1]:
            return
        top += self.row
        self._expiry(image, inner, top + self.pad // 4)
        top += self.pad
        for reason in self.reasons:
            put_text(image, fitted(reason, self.small, inner[1]), (inner[0], top), self.small, DIM)
            top += self.row
        top += self.pad // 2
        for cue in self.evidence:
            self._cue(image, cue, inner, top)
            top += self.row
        if self.face.depth is not None:
            self._depth(image, self.face.depth, inner, top)
            top += DEPTH_ROWS * self.row
        if self.face.trace is not None:
            self._pulse(image, self.face.trace, inner, top)

    @property
    def expired(self) -> bool:
        """The verdict no longer holds."""
        return self.face.holds is not None and self.face.holds <= 0

    @property
    def small(self) -> int:
        """Font size of everything below the header, in pixels."""
        return max(10, round(self.unit * 0.88))

    def _header(self, image: np.ndarray, inner: tuple[int, int], y: int) -> None:
        x, width = inner
        verdict = self.face.verdict or {}
        state = "EXPIRED" if self.expired else str(verdict.get("state", "NEW"))
        put_text(image, state, (x, y), self.unit, face_colour(self.face))
        x_id = x + text_width(state, self.unit) + self.pad
        put_text(image, f"#{self.face.track}", (x_id, y), self.unit, DIM)
        p_live = verdict.get("p_live")
        if p_live is not None:
            shown = f"p {p_live:.2f}"
            right = x + width - text_width(shown, self.unit)
            if right > x_id + text_width(f"#{self.face.track}", self.unit):
                put_text(image, shown, (right, y), self.unit, TEXT)

    def _expiry(self, image: np.ndarray, inner: tuple[int, int], y: int) -> None:
        thick = max(1, self.unit // 8)
        tint(image, (inner[0], y, inner[1], thick), TRACK_LINE, 1.0)
        left = round(inner[1] * min(max(self.face.holds or 0.0, 0.0), 1.0))
        tint(image, (inner[0], y, left, thick), face_colour(self.face), 1.0)

    def _cue(
        self, image: np.ndarray, cue: Mapping[str, Any], inner: tuple[int, int], y: int
    ) -> None:
        x, width = inner
        names = max(text_width(str(e["cue"]), self.small) for e in self.evidence)
        left = x + names + self.pad
        put_text(image, str(cue["cue"]), (x, y), self.small, TEXT)
        llr = cue["llr"]
        if llr is None:
            why = words(cue["reasons"][0]) if cue["reasons"] else "no value"
            room = x + width - left
            put_text(image, fitted(why, self.small, room), (left, y), self.small, DIM)
            return
        value = f"{round(llr, 1) + 0.0:+.1f}"  # no minus before zero
        numbers = text_width("-10.0", self.small)
        put_text(image, value, (x + width - text_width(value, self.small), y), self.small, TEXT)
        bar_width = width - names - numbers - 2 * self.pad
        place = (left, y + self.row // 2, bar_width, max(3, self.unit // 3))
        draw_bar(image, place, llr, faint=self.expired)

    def _depth(self, image: np.ndarray, relief: DepthMap, inner: tuple[int, int], y: int) -> None:
        side = DEPTH_ROWS * self.row - self.pad // 2
        draw_depth(image, (inner[0], y, side, side), relief)
        put_text(image, "relief", (inner[0] + side + self.pad, y), self.small, DIM)

    def _pulse(self, image: np.ndarray, trace: PulseTrace, inner: tuple[int, int], y: int) -> None:
        x, width = inner
        height = 2 * self.row - self.pad // 2
        if self.private and trace.heart_rate is not None:
            shown = f"{trace.heart_rate:.0f} bpm"
            label = text_width(shown, self.small)
            put_text(image, shown, (x + width - label, y + height // 4), self.small, PULSE)
            width -= label + self.pad
        draw_wave(image, (x, y, width, height), trace, self.time)


def font_size(height: int) -> int:
    """Text height in pixels for a picture of the given height."""
    return max(11, round(height * 0.0215))


def words(code: str) -> str:
    """A reason code for people."""
    return str(code).replace("_", " ")


def face_colour(face: FaceView) -> Colour:
    """Colour of the verdict that holds; grey without one."""
    if face.verdict is None or (face.holds is not None and face.holds <= 0):
        return DIM
    return STATE_COLOURS.get(str(face.verdict.get("state")), DIM)


def draw_box(image: np.ndarray, box: Rect, colour: Colour, unit: int, faint: bool) -> None:
    """A thin frame with strong corners."""
    x, y, w, h = box
    opacity = 0.35 if faint else 1.0
    thin, thick = max(1, unit // 12), max(2, unit // 5)
    for edge in _edges(box, thin):
        tint(image, edge, colour, 0.45 * opacity)
    corner = max(thick, round(min(w, h) * 0.16))
    for left in (x, x + w - corner):
        for top in (y, y + h - thick):
            tint(image, (left, top, corner, thick), colour, opacity)
    for left in (x, x + w - thick):
        for top in (y + thick, y + h - corner):
            tint(image, (left, top, thick, corner - thick), colour, opacity)


def draw_bar(image: np.ndarray, rect: Rect, llr: float, faint: bool = False) -> None:
    """A ratio in nats as a bar from the middle: right and green for live, left and red."""
    colour = DIM if faint else FOR_LIVE if llr >= 0 else FOR_ATTACK
    x, y, width, height = rect
    top, middle, half = y - height // 2, x + width // 2, width // 2
    tint(image, (x, top, width, height), TRACK_LINE, 0.8)
    length = round(half * min(abs(llr) / BAR_NATS, 1.0))
    start = middle if llr >= 0 else middle - length
    tint(image, (start, top, length, height), colour, 1.0)
    tint(image, (middle, top - 1, 1, height + 2), TEXT, 0.9)


def draw_wave(image: np.ndarray, rect: Rect, trace: PulseTrace, now: float) -> None:
    """The pulse wave of the last seconds, its newest moment at the right."""
    x, y, width, height = rect
    if x < 0 or y < 0 or x + width > image.shape[1] or y + height > image.shape[0]:
        return
    tint(image, (x, y + height // 2, width, 1), TRACK_LINE, 0.8)
    keep = (trace.times > now - PULSE_SECONDS) & (trace.times <= now) & np.isfinite(trace.wave)
    if keep.sum() < 2:
        return
    across = (trace.times[keep] - now) / PULSE_SECONDS + 1.0
    up = np.clip(trace.wave[keep] / 2.5, -1.0, 1.0)
    fine = 16.0  # polylines takes fixed-point coordinates with 4 fractional bits
    points = np.stack((across * (width - 1), (1.0 - up) * (height - 3) / 2 + 1), axis=1)
    piece = np.ascontiguousarray(image[y : y + height, x : x + width])
    line = [np.round(points * fine).astype(np.int32)]
    cv2.polylines(piece, line, False, PULSE, max(1, height // 26), cv2.LINE_AA, 4)
    image[y : y + height, x : x + width] = piece


def draw_depth(image: np.ndarray, rect: Rect, relief: DepthMap) -> None:
    """A depth map in false colours, near is bright; nothing where it does not fit."""
    x, y, width, height = rect
    if x < 0 or y < 0 or x + width > image.shape[1] or y + height > image.shape[0]:
        return
    levels = np.rint(np.clip(relief.depth, 0.0, 1.0) * 255).astype(np.uint8)
    larger = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap(larger, cv2.COLORMAP_VIRIDIS)
    image[y : y + height, x : x + width] = cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)


def draw_status(image: np.ndarray, view: View, unit: int) -> Rect:
    """Stream and time in the lower left corner, trouble beside it. Returns the covered place."""
    minutes, seconds = divmod(view.time, 60)
    clock = f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{seconds:04.1f}"
    small, pad = max(10, round(unit * 0.88)), round(unit * 0.5)
    room = image.shape[1] - 2 * pad - text_width(clock, small) - 2 * unit
    name = fitted(view.stream, small, max(room // 2, unit))
    parts = [(name, TEXT), (clock, DIM)]
    if view.warning:
        room -= text_width(name, small) + unit
        parts.append((fitted(words(view.warning), small, max(room, unit)), WARNING))
    width = sum(text_width(text, small) + unit for text, _ in parts) - unit + 2 * pad
    height = round(small * 1.42) + pad // 2
    rect = (0, image.shape[0] - height, min(width, image.shape[1]), height)
    tint(image, rect, PANEL, PANEL_OPACITY)
    x = pad
    for text, colour in parts:
        put_text(image, text, (x, rect[1] + pad // 4), small, colour)
        x += text_width(text, small) + unit
    return rect


def tint(image: np.ndarray, rect: Rect, colour: Colour, opacity: float) -> None:
    """Lay a colour over a rectangle, clipped to the picture."""
    x, y, w, h = rect
    part = image[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)]
    if part.size == 0:
        return
    if opacity >= 1.0:
        part[:] = colour
    else:
        flat = np.full_like(part, colour)
        part[:] = cv2.addWeighted(part, 1.0 - opacity, flat, opacity, 0.0)


def put_text(image: np.ndarray, text: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Write text with its line's upper left corner at a pixel, clipped to the picture."""
    mask = _text_mask(text, size)
    x, y = at
    left, top = max(-x, 0), max(-y, 0)
    part = image[max(y, 0) : max(y + mask.shape[0], 0), max(x, 0) : max(x + mask.shape[1], 0)]
    if part.size == 0:
        return
    cover = mask[top : top + part.shape[0], left : left + part.shape[1], None]
    ink = np.array(colour, np.uint16)
    part[:] = (part * (255 - cover) + ink * cover + 127) // 255


def text_width(text: str, size: int) -> int:
    """Width of a text in pixels."""
    return int(_text_mask(text, size).shape[1])


def fitted(text: str, size: int, width: int) -> str:
    """The text, cut with dots where it is wider than the room."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "..", size) > width:
        text = text[:-1]
    return text.rstrip() + ".." if text else ""


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    # Pillow carries this outline font itself: no font file of the system is needed.
    return ImageFont.load_default(size)


@lru_cache(maxsize=2048)
def _text_mask(text: str, size: int) -> np.ndarray:
    """uint16 (height, width), 0 to 255: how much of each pixel the ink covers."""
    # Drawn large and averaged down: at ten pixels the hinted letters and blanks sit too close.
    font = _font(size * FINER)
    width = round(font.getlength(text) / FINER)
    height = round(size * 1.42)
    picture = Image.new("L", (max(width, 1) * FINER, height * FINER))
    base = round(size * 1.08) * FINER
    ImageDraw.Draw(picture).text((0, base), text, font=font, fill=255, anchor="ls")
    small = cv2.resize(np.asarray(picture), (max(width, 1), height), interpolation=cv2.INTER_AREA)
    # A little more ink: averaged thin strokes look grey.
    strong = np.minimum(small.astype(np.uint16) * 5 // 4, 255).astype(np.uint16)
    return np.asarray(strong[:, :width])


def _rect(box: Box) -> Rect:
    return round(box.x), round(box.y), max(round(box.w), 1), max(round(box.h), 1)


def _edges(box: Rect, thick: int) -> list[Rect]:
    x, y, w, h = box
    return [
        (x, y, w, thick),
        (x, y + h - thick, w, thick),
        (x, y, thick, h),
        (x + w - thick, y, thick, h),
    ]


def _around(box: Rect, size: tuple[int, int], gap: int) -> list[Rect]:
    """Places for a card, the better first: right, left, above, below, over the chin."""
    x, y, w, h = box
    cw, ch = size
    return [
        (x + w + gap, y, cw, ch),
        (x - cw - gap, y, cw, ch),
        (x, y - ch - gap, cw, ch),
        (x, y + h + gap, cw, ch),
        (x + w + gap, y + h - ch, cw, ch),
        (x - cw - gap, y + h - ch, cw, ch),
        (x + w - cw, y + h - ch, cw, ch),
        (x, y + h - ch, cw, ch),
    ]


def _inside(rect: Rect, shape: tuple[int, ...]) -> Rect:
    x, y, w, h = rect
    return max(min(x, shape[1] - w), 0), max(min(y, shape[0] - h), 0), w, h


def _cost(place: Rect, own: Rect, others: Sequence[Rect], taken: Sequence[Rect]) -> float:
    """How bad a place is; 1 and more is too bad for a whole card.

    In full on another card: 100, on another face: 12, on the own eyes: 1.2, on the own chin: 0.5.
    """
    area = place[2] * place[3]
    eyes = (own[0], own[1], own[2], round(0.6 * own[3]))
    cost = 0.5 * _common(place, own) + 0.7 * _common(place, eyes)
    cost += 12.0 * sum(_common(place, face) for face in others)
    return (cost + 100.0 * sum(_common(place, card) for card in taken)) / area


def _common(a: Rect, b: Rect) -> int:
    """Pixels that two rectangles share."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
