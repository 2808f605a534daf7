"""Pictures of samples, whatever holds them."""

import importlib.util
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from padflow.trainers.data import DataError, Sample
from padflow.trainers.data.frames import read_frames


def sample(path: Path) -> Sample:
    return Sample(path, "plain", "live", "live")


def write_picture(path: Path, red: int) -> Path:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[..., 2] = red
    assert cv2.imwrite(str(path), picture)
    return path


def test_picture_is_rgb(tmp_path: Path) -> None:
    (picture,) = read_frames(sample(write_picture(tmp_path / "a.png", 200)))
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [200, 0, 0]


def test_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "5.png").write_bytes(b"")
    assert [int(p[0, 0, 0]) for p in read_frames(sample(tmp_path))] == [1, 2, 10]
    assert [int(p[0, 0, 0]) for p in read_frames(sample(tmp_path), step=2)] == [1, 10]


def test_video_gives_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 32, 16
        for level in range(0, 250, 50):
            frame = av.VideoFrame.from_ndarray(
                np.full((16, 32, 3), level, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    levels = [float(picture.mean()) for picture in read_frames(sample(path))]
    assert levels == pytest.approx([0, 50, 100, 150, 200], abs=6)
    assert len(list(read_frames(sample(path), step=3))) == 2


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", "a video"), ("a.jpg", "a picture")])
def test_what_cannot_be_decoded_is_named(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"neither of them")
    with pytest.raises(DataError, match=rf"{name}: expected {kind}, found"):
        list(read_frames(sample(path)))


@pytest.mark.skipif(
    importlib.util.find_spec("h5py") is not None, reason="h5py is installed on this machine"
)
def test_3dmad_without_h5py_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "01_01_01.hdf5"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match="pip install h5py"):
        list(read_frames(sample(path)))
