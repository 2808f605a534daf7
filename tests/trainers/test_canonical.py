from pathlib import Path

import numpy as np
import pytest

from padflow.nodes import canonical
from padflow.trainers.canonical import PORTRAIT_FILES, derive, lay_out, mirror_map, portrait


def test_the_shipped_face_can_be_made_again(models: Path, tmp_path: Path) -> None:
    points, mirror = derive(np.random.default_rng(468))
    np.savez_compressed(tmp_path / "face.npz", allow_pickle=False, **lay_out(points, mirror))
    made, shipped = canonical.load(tmp_path / "face.npz"), canonical.canonical_face()
    assert np.abs(made.points - shipped.points).max() < 0.02
    assert (made.mirror == shipped.mirror).all()
    assert (made.skin ^ shipped.skin).mean() < 0.02


def test_a_skew_face_is_refused() -> None:
    skew = canonical.canonical_face().points.astype(float)
    skew[skew[:, 0] > 0, 1] += 0.3
    with pytest.raises(ValueError, match="too skew"):
        mirror_map(skew)


def test_a_missing_portrait_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PORTRAIT_FILES, "astronaut", ("skimage", "data/gone.png"))
    with pytest.raises(FileNotFoundError, match=r"padflow\[demo\]"):
        portrait("astronaut")
