import numpy as np

from padflow.trainers.attacks.backdrops import backdrop, natural_pictures
from padflow.trainers.attacks.people import FaceFinder


def test_rooms_are_light_and_come_again_with_their_seed() -> None:
    seen = []
    for seed in range(12):
        room, again = (backdrop(np.random.default_rng(seed), 90, 130) for _ in range(2))
        assert room.shape == (90, 130, 3)
        assert room.dtype == np.float32
        assert np.isfinite(room).all()
        assert (room >= 0).all()
        assert np.array_equal(room, again)
        seen.append(float(room.mean()))
    assert max(seen) > 3 * min(seen), "dark rooms and bright ones"


def test_rooms_have_edges_about_which_no_attack_is() -> None:
    """Among many rooms some have long straight edges, as sheets have."""
    edged = 0
    for seed in range(30):
        room = backdrop(np.random.default_rng(100 + seed), 96, 128).mean(axis=2)
        step = np.abs(np.diff(np.log(room + 0.02), axis=1))
        edged += bool(((step > 0.2).sum(axis=0) > 40).any())
    assert edged > 8


def test_natural_pictures_show_nobody(finder: FaceFinder) -> None:
    pictures = natural_pictures()
    assert len(pictures) >= 2
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert finder.mesh(picture) is None
