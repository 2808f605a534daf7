from pathlib import Path

import av
import numpy as np
import pytest

from padflow.trainers.attacks.camera import (
    CameraParams,
    develop,
    focal_pixels,
    h264_file,
    make_sensor,
)
from padflow.trainers.attacks.light import to_linear, to_srgb

QUIET = CameraParams(defocus=0.0, full_well=1e9, read_noise=0.0)


def test_linear_light_comes_back_from_the_code_values() -> None:
    scene = np.linspace(0.0, 1.0, 160 * 120 * 3, dtype=np.float32).reshape(120, 160, 3)
    code = develop(make_sensor(QUIET, 160, 120), scene, 0)
    assert np.abs(code - to_srgb(scene) * 255).max() < 1.0
    assert to_linear(code) == pytest.approx(scene, abs=0.006)


def test_gains_act_on_light_and_white_is_clipped() -> None:
    params = CameraParams(
        defocus=0.0, full_well=1e9, read_noise=0.0, exposure=2.0, white_balance=(1.0, 0.5, 4.0)
    )
    scene = np.full((120, 160, 3), 0.2, np.float32)
    code = develop(make_sensor(params, 160, 120), scene, 0)
    expected = np.rint(to_srgb(np.array([0.4, 0.2, 1.6])) * 255)
    assert np.abs(code.reshape(-1, 3) - expected).max() <= 1.0


def test_shot_noise_grows_with_the_root_of_the_light() -> None:
    params = CameraParams(defocus=0.0, full_well=2000.0, read_noise=0.0)
    sensor = make_sensor(params, 160, 120)
    for level in (0.1, 0.4):
        scene = np.full((120, 160, 3), level, np.float32)
        noise = to_linear(develop(sensor, scene, 3)).std()
        assert noise == pytest.approx(np.sqrt(level / 2000.0), rel=0.1)


def test_noise_differs_between_frames_and_not_between_runs() -> None:
    scene = np.full((120, 160, 3), 0.3, np.float32)
    first, second = (develop(make_sensor(CameraParams(), 160, 120), scene, i) for i in (0, 1))
    again = develop(make_sensor(CameraParams(), 160, 120), scene, 0)
    assert (first == again).all()
    assert (first != second).any()


def test_noise_that_goes_below_black_stays_black() -> None:
    dark = np.zeros((120, 160, 3), np.float32)
    code = develop(make_sensor(CameraParams(read_noise=40.0), 160, 120), dark, 0)
    assert code.max() < 40
    assert code.min() == 0


def test_defocus_keeps_the_mean_and_softens_edges() -> None:
    scene = np.zeros((120, 160, 3), np.float32)
    scene[:, 80:] = 0.5
    params = CameraParams(defocus=2.0, full_well=1e9, read_noise=0.0)
    light = to_linear(develop(make_sensor(params, 160, 120), scene, 0))
    assert light.mean() == pytest.approx(0.25, abs=0.005)
    assert light[60, 80, 1] == pytest.approx(0.5 * 0.6, abs=0.05)


def test_field_of_view() -> None:
    assert focal_pixels(CameraParams(field_of_view=90.0), 1000) == pytest.approx(500.0)


def test_the_file_holds_every_frame_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    pictures = [np.full((120, 160, 3), level, np.uint8) for level in (40, 120, 200)]
    with h264_file(path, (160, 120), 25, CameraParams()) as sink:
        for picture in pictures:
            sink.write(picture)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.name == "h264"
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.04, 0.08])
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture).mean() < 4
