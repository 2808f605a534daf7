import numpy as np
import pytest
from pydantic import TypeAdapter

from padflow.trainers.attacks.codec import CodecParams, draw_codec
from padflow.trainers.attacks.devices import (
    CAMERAS,
    KINDS,
    device,
    draw_camera,
    draw_sensor,
    kind_of,
)
from padflow.trainers.attacks.sensor import Kind, SensorParams

SENSOR = TypeAdapter(SensorParams)
CODEC = TypeAdapter(CodecParams)
OF_A_SHOT = {
    "averaged",
    "bilateral",
    "chroma_blur",
    "defocus",
    "exposure",
    "gain",
    "motion",
    "rolling",
    "saturation",
    "temperature",
    "tint",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_draw_lies_in_the_declared_ranges(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        drawn = draw_sensor(rng, kind)
        assert SENSOR.validate_python(SENSOR.dump_python(drawn), strict=False) == drawn
        codec = draw_codec(rng)
        assert CODEC.validate_python(CODEC.dump_python(codec), strict=False) == codec


def test_a_device_differs_between_shots_only_in_what_a_shot_sets() -> None:
    rng = np.random.default_rng(2)
    for camera_id in range(CAMERAS):
        base = SENSOR.dump_python(device(camera_id))
        shot = SENSOR.dump_python(draw_camera(rng, camera_id))
        assert {name for name in base if base[name] != shot[name]} <= OF_A_SHOT
        assert base["name"] == f"{kind_of(camera_id)}-{camera_id:02d}"


def test_devices_are_distinct_and_of_every_kind() -> None:
    bank = [device(camera_id) for camera_id in range(CAMERAS)]
    assert len(set(bank)) == CAMERAS
    assert len({camera.pattern_seed for camera in bank}) == CAMERAS
    assert {kind_of(camera_id) for camera_id in range(CAMERAS)} == set(KINDS)


def test_the_same_seed_gives_the_same_shot() -> None:
    one, two = (draw_sensor(np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert one != draw_sensor(np.random.default_rng(6))


def test_some_shots_are_in_poor_light_and_most_are_not() -> None:
    rng = np.random.default_rng(7)
    gains = np.array([draw_sensor(rng).gain for _ in range(400)])
    assert 0.05 < (gains > 6).mean() < 0.4


def test_a_device_keeps_its_codec_and_not_its_quality() -> None:
    rng = np.random.default_rng(8)
    for camera_id in range(10):
        codecs = [draw_codec(rng, camera_id) for _ in range(12)]
        ways = {(codec.h264, codec.jpeg_quality is None, codec.preset) for codec in codecs}
        assert len(ways) == 1
        assert len({codec.crf or codec.bits_per_pixel for codec in codecs}) > 1


def test_a_camera_that_is_not_in_the_bank_is_named() -> None:
    with pytest.raises(ValueError, match="camera 40: the bank has cameras 0 to 39"):
        draw_camera(np.random.default_rng(0), 40)
    with pytest.raises(ValueError, match="camera -1: the bank has cameras 0 to 39"):
        draw_codec(np.random.default_rng(0), -1)
