from dataclasses import replace

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.codec import CodecParams, encoded
from padflow.trainers.attacks.parameters import Array

H264 = CodecParams(h264=True, crf=25.0)


def _frames(count: int, size: tuple[int, int] = (144, 192), noise: float = 6.0) -> list[Array]:
    """A smooth coloured picture with detail that moves a pixel a frame, and noise."""
    rng = np.random.default_rng(4)
    coarse = rng.uniform(40, 215, (9, 12, 3)).astype(np.float32)
    fine = rng.normal(0, 14, (size[0] // 3 + 1, size[1] // 3 + 1, 1)).astype(np.float32)
    height, width = size
    out = []
    for index in range(count):
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        detail = np.roll(cv2.resize(fine, (width, height)), index, axis=1)[..., None]
        picture = smooth + detail + rng.normal(0, noise, (*size, 3))
        out.append(np.clip(picture, 0, 255).astype(np.uint8))
    return out


def _error(frames: list[Array], params: CodecParams) -> float:
    out = encoded(frames, params)
    return float(np.mean([(a.astype(float) - b) ** 2 for a, b in zip(out, frames, strict=True)]))


@pytest.mark.parametrize("count", [1, 2, 3, 12])
@pytest.mark.parametrize("size", [(144, 192), (97, 131)])
def test_as_many_pictures_of_the_same_size_come_back_in_order(
    count: int, size: tuple[int, int]
) -> None:
    frames = _frames(count, size, noise=0.0)
    for params in (CodecParams(), CodecParams(jpeg_quality=80), replace(H264, crf=16.0)):
        out = encoded(frames, params)
        assert [picture.shape for picture in out] == [(*size, 3)] * count
        assert all(picture.dtype == np.uint8 for picture in out)
        for index, picture in enumerate(out):
            distance = [np.abs(picture.astype(int) - frame).mean() for frame in frames]
            assert int(np.argmin(distance)) == index


def test_quality_and_rate_order_the_error() -> None:
    frames = _frames(6)
    jpeg = [_error(frames, CodecParams(jpeg_quality=quality)) for quality in (90, 60, 30)]
    constant = [_error(frames, replace(H264, crf=crf)) for crf in (16.0, 26.0, 36.0)]
    rate = [
        _error(frames, CodecParams(h264=True, bits_per_pixel=bits)) for bits in (0.6, 0.2, 0.03)
    ]
    for errors in (jpeg, constant, rate):
        assert errors == sorted(errors)
        assert errors[-1] > 1.2 * errors[0]


def test_both_codecs_are_worse_than_either() -> None:
    frames = _frames(1)
    both = replace(H264, jpeg_quality=40)
    assert _error(frames, both) > max(
        _error(frames, H264), _error(frames, CodecParams(jpeg_quality=40))
    )


def test_the_same_pictures_give_the_same() -> None:
    frames = _frames(3)
    first, second = encoded(frames, H264), encoded(frames, H264)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_chroma_loses_its_detail_and_luma_does_not() -> None:
    picture = np.full((96, 96, 3), 120, np.uint8)
    picture[:, ::2] = (160, 101, 120)  # of about the same luma
    full = encoded([picture], CodecParams(subsampling="yuv444p"))[0]
    half = encoded([picture], CodecParams(subsampling="yuv420p"))[0]
    assert (full == picture).all()
    assert np.ptp(half[48, :, 0].astype(int)) < 8
    stripes = np.full((96, 96, 3), 90, np.uint8)
    stripes[:, ::2] = 150
    assert np.abs(encoded([stripes], CodecParams())[0].astype(int) - stripes).max() <= 2


@pytest.mark.parametrize("params", [CodecParams(), CodecParams(jpeg_quality=95), H264])
def test_nothing_moves(params: CodecParams) -> None:
    picture = np.full((96, 128, 3), 30, np.uint8)
    cv2.circle(picture, (75, 41), 9, (220, 200, 190), -1, cv2.LINE_AA)
    light = encoded([picture], params)[0].astype(float).mean(axis=2)
    mask = np.clip(light - 60, 0, None)
    down, across = np.mgrid[:96, :128]
    assert (mask * down).sum() / mask.sum() == pytest.approx(41, abs=0.1)
    assert (mask * across).sum() / mask.sum() == pytest.approx(75, abs=0.1)


def test_frames_of_two_sizes_are_refused() -> None:
    frames = [*_frames(1), *_frames(1, (96, 96))]
    with pytest.raises(ValueError, match="one size was expected"):
        encoded(frames, H264)


def test_no_frames_give_none() -> None:
    assert encoded([], H264) == []
