from pathlib import Path

import numpy as np
import pytest

from padflow.nodes.mesh import MeshNet
from padflow.trainers.attacks.acts import Person, Stage
from padflow.trainers.attacks.identity import fit_identity
from padflow.trainers.attacks.portraits import load_portrait, portrait_names
from padflow.trainers.attacks.render import Lens
from padflow.trainers.attacks.scene import SceneParams

LENS = Lens(448.0, 640, 360)
TEXELS_PER_METRE = 635.0


@pytest.fixture(scope="session")
def cast(models: Path) -> dict[str, Person]:
    """Both portraits and their figures, at the resolution of 640x360."""
    with MeshNet() as net:
        people = {}
        for name in portrait_names():
            portrait = load_portrait(name)
            people[name] = Person(portrait, fit_identity(portrait, net, TEXELS_PER_METRE))
        return people


@pytest.fixture
def stage() -> Stage:
    """A door camera of 640x360 at 25 frames a second."""
    return Stage(LENS, 25, np.asarray(SceneParams().to_lamp), 0.4, TEXELS_PER_METRE, 3)
