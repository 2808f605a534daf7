from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.overlay import (
    FOR_ATTACK,
    FOR_LIVE,
    PULSE,
    Card,
    FaceView,
    Overlay,
    Rect,
    View,
    draw_bar,
    draw_depth,
    fitted,
    font_size,
    text_width,
)
from padflow.nodes.payloads import Box, DepthMap, PulseTrace


def verdict(state: str = "LIVE", **llr: float | None) -> dict[str, Any]:
    return {
        "state": state,
        "p_live": 0.97,
        "reasons": ["no_appearance_evidence"],
        "evidence": [
            {"cue": cue, "llr": value, "reasons": [] if value is not None else ["too_dark"]}
            for cue, value in llr.items()
        ],
    }


def trace(now: float) -> PulseTrace:
    times = np.arange(now - 10, now, 1 / 30)
    return PulseTrace(times, np.sin(7.5 * times).astype(np.float32) * 1.4, 71.6, 4.0)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def drawn(height: int, width: int, faces: list[FaceView], private: bool = False) -> np.ndarray:
    image = grey(height, width)
    Overlay(private).draw(image, View("cam", 12.0, faces))
    return image


def has(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def near(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    apart = np.abs(image.astype(int) - colour).max(axis=2)
    return int((apart < 30).sum())


@pytest.mark.parametrize(("height", "width"), [(300, 400), (480, 640), (1080, 1920)])
def test_the_state_colours_box_and_card(height: int, width: int) -> None:
    box = Box(0.1 * width, 0.2 * height, 0.2 * width, 0.4 * height)
    live = drawn(height, width, [FaceView(1, box, 0.0, verdict(), 1.0)])
    spoof = drawn(height, width, [FaceView(1, box, 0.0, verdict("SPOOF"), 1.0)])
    expired = drawn(height, width, [FaceView(1, box, 0.0, verdict(), 0.0)])
    assert has(live, FOR_LIVE) > 50
    assert has(live, FOR_ATTACK) == 0
    assert has(spoof, FOR_ATTACK) > 50
    assert has(expired, FOR_LIVE) == 0, "an expired verdict must not look like one that holds"


def test_text_is_legible_at_every_size() -> None:
    assert font_size(300) >= 11
    assert font_size(1080) >= 22
    assert text_width("no appearance evidence", font_size(300)) > 100


def test_bars_point_to_the_right_side_with_the_right_length() -> None:
    for llr, colour in ((3.0, FOR_LIVE), (-3.0, FOR_ATTACK)):
        image = grey(20, 200)
        draw_bar(image, (0, 10, 200, 4), llr)
        columns = np.flatnonzero((image[10] == colour).all(axis=1))
        assert len(columns) == pytest.approx(50, abs=2)
        assert (columns >= 99).all() if llr > 0 else (columns <= 100).all()
    image = grey(20, 200)
    draw_bar(image, (0, 10, 200, 4), 1e9)
    assert len(np.flatnonzero((image[10] == FOR_LIVE).all(axis=1))) <= 100


def test_the_pulse_wave_is_drawn_and_its_number_only_where_switched_on() -> None:
    box = Box(60, 100, 150, 200)
    without = FaceView(1, box, 0.0, verdict(pulse=1.0), 1.0)
    face = FaceView(1, box, 0.0, verdict(pulse=1.0), 1.0, trace(12.0))
    assert near(drawn(480, 640, [without]), PULSE) == 0
    plain, private = drawn(480, 640, [face]), drawn(480, 640, [face], private=True)
    assert near(plain, PULSE) > 20
    wave = PulseTrace(trace(12.0).times, trace(12.0).wave, None, None)
    silent = FaceView(1, box, 0.0, verdict(pulse=1.0), 1.0, wave)
    assert np.array_equal(plain, drawn(480, 640, [silent])), "without consent the rate is not drawn"
    assert not np.array_equal(plain, private)


def test_the_depth_map_is_drawn_bright_where_near() -> None:
    box = Box(60, 100, 150, 200)
    half = np.zeros((32, 32), np.float32)
    half[:, 16:] = 1.0
    picture = grey(90, 120)
    draw_depth(picture, (10, 20, 64, 64), DepthMap(half))
    far, near_by = picture[20:84, 10:40].astype(int), picture[20:84, 44:74].astype(int)
    assert near_by.sum(-1).mean() > 2 * far.sum(-1).mean()
    assert (picture[:20] == 90).all()
    assert (picture[:, 74:] == 90).all()
    without = FaceView(1, box, 0.0, verdict(depth=1.0), 1.0)
    face = FaceView(1, box, 0.0, verdict(depth=1.0), 1.0, depth=DepthMap(half))
    yellow = (253, 231, 37)
    assert near(drawn(480, 640, [without]), yellow) == 0
    assert near(drawn(480, 640, [face]), yellow) > 100


def test_a_nan_in_the_wave_is_skipped() -> None:
    wave = trace(12.0)
    wave.wave[::3] = np.nan
    drawn(300, 400, [FaceView(1, Box(20, 20, 90, 120), 0.0, verdict(pulse=1.0), 1.0, wave)])


RELIEF = DepthMap(np.linspace(-1, 2, 1024, dtype=np.float32).reshape(32, 32))

boxes = st.builds(
    Box, st.floats(-300, 900), st.floats(-300, 700), st.floats(0, 800), st.floats(0, 700)
)


@given(
    st.lists(boxes, max_size=6),
    st.sampled_from([(300, 400), (480, 640), (64, 48), (2, 2)]),
    st.text(max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_any_faces_can_be_drawn_on_any_picture(
    places: list[Box], size: tuple[int, int], name: str
) -> None:
    image = grey(*size)
    faces = [
        FaceView(i, box, 0.4 * i, verdict(depth=1.0, patch=None), 0.5, trace(3.0), RELIEF)
        for i, box in enumerate(places)
    ]
    overlay = Overlay(private=True)
    for _ in range(2):
        overlay.draw(image, View(name, 3.0, faces, "frame corrupt"))
    assert image.shape == (*size, 3)
    assert len(overlay.sides) == len(faces)


def shared(a: Rect, b: Rect) -> int:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def test_cards_cover_neither_each_other_nor_another_face() -> None:
    places = [Box(20 + 125 * i, 60 + 30 * (i % 2), 60, 80) for i in range(5)]
    cards = [
        Card(FaceView(i, box, 0.0, verdict(depth=2.0), 1.0), 11, 0.0, False)
        for i, box in enumerate(places)
    ]
    rects = Overlay().layout((480, 640, 3), cards, (0, 460, 200, 20))
    for i, rect in enumerate(rects):
        assert rect[0] >= 0
        assert rect[1] >= 0
        assert rect[0] + rect[2] <= 640
        assert rect[1] + rect[3] <= 480
        area = rect[2] * rect[3]
        others = [(round(b.x), round(b.y), 60, 80) for j, b in enumerate(places) if j != i]
        assert sum(shared(rect, face) for face in others) <= area / 10
        assert not any(shared(rect, other) for other in rects if other is not rect)


def test_a_card_stays_on_its_side_while_the_face_moves_a_little() -> None:
    overlay = Overlay()
    sides = set()
    for step in range(20):
        box = Box(230 + 2 * (step % 2), 150, 120, 150)
        overlay.draw(grey(480, 640), View("cam", 1.0, [FaceView(1, box, 0.0, verdict(), 1.0)]))
        sides.add(overlay.sides[1])
    assert len(sides) == 1


def test_long_text_is_cut_to_the_room() -> None:
    assert fitted("short", 12, 200) == "short"
    cut = fitted("a very long name of a camera in a corridor", 12, 100)
    assert cut.endswith("..")
    assert text_width(cut, 12) <= 100
    assert fitted("anything", 12, 0) == ""
