import numpy as np

from padflow.trainers.attacks.parameters import generator
from padflow.trainers.attacks.render import Lens
from padflow.trainers.attacks.scene import (
    SceneParams,
    backdrop,
    build_corridor,
    illumination,
)

LENS = Lens(224.0, 320, 180)


def test_the_corridor_is_lit_everywhere_and_finite() -> None:
    corridor = build_corridor(SceneParams(), LENS, generator(0))
    for picture in corridor:
        assert picture.shape == (180, 320, 3)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0.0
    scene = backdrop(corridor, 1.0)
    assert 0.1 < np.median(scene) < 0.6
    assert (scene.max(axis=2) >= 1.0).mean() < 0.1


def test_daylight_comes_from_the_window_side() -> None:
    corridor = build_corridor(SceneParams(), LENS, generator(0))
    more = backdrop(corridor, 2.0) - backdrop(corridor, 1.0)
    assert np.allclose(more, corridor.day, atol=1e-5)
    assert more[:, 160:].mean() > 0
    assert more[60:110, 75:95].mean() > 5 * more[60:110, 225:245].mean()  # the panes


def test_daylight_changes_slowly() -> None:
    light = illumination(SceneParams(), 5000, 25.0, generator(1))
    assert light.on_person.shape == (5000, 3)
    assert 0.02 < light.day.std() < 0.25
    assert np.abs(np.diff(light.day)).max() < 0.005
    assert light.on_person.min() > 0.5
