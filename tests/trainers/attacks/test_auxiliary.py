import numpy as np

from padflow.trainers.attacks.auxiliary import distract
from padflow.trainers.attacks.composing import Placing, compose
from padflow.trainers.attacks.parameters import generator
from padflow.trainers.attacks.people import PersonPicture


def test_things_lie_beside_the_face_and_not_on_it(people: list[PersonPicture]) -> None:
    scene = compose(generator(0), people[0], Placing((150.0, 130.0), 90.0), (260, 300), True)
    low, high = scene.mesh[:, :2].min(axis=0), scene.mesh[:, :2].max(axis=0)
    x, y = (int(value) for value in (low + high) / 2)
    face = (slice(y - 25, y + 25), slice(x - 20, x + 20))
    changed = 0
    for seed in range(30):
        light, again = (
            distract(generator(seed), scene.light, scene.mesh, scene.coverage) for _ in range(2)
        )
        assert np.array_equal(light, again)
        assert light.dtype == np.float32
        change = np.abs(light - scene.light)
        assert change[face].max() < 0.01
        changed += bool(change.max() > 0.02)
    assert 4 <= changed <= 22, "two in five have something beside the face"
