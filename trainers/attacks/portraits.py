"""The two public-domain portraits that everyday packages carry.

They are the identities of the demonstration: nothing else that shows a face may be shipped, and
these come with packages that a Python user has anyway. The only module that imports them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from ...engines import EngineError
from .parameters import Array


class PortraitsMissing(EngineError):
    """A package that carries a portrait is not installed."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture of a person with what a hand marked in it."""

    name: str
    image: Array
    """uint8 RGB (height, width, 3)."""
    eyes: Array
    """float32 (2, 2) pixels: the person's right eye and left eye, to within a tenth of a face."""
    outline: Array
    """float32 (n, 2) pixels: polygon around the person, to within a few pixels. May leave the
    picture where the person does."""
    credit: str


def portrait_names() -> tuple[str, ...]:
    """The portraits that :func:`load_portrait` knows."""
    return tuple(_LOADERS)


def load_portrait(name: str) -> Portrait:
    """Read a portrait out of the package that carries it.

    Raises:
        ValueError: no portrait has this name.
        PortraitsMissing: the package is not installed.
    """
    if name not in _LOADERS:
        raise ValueError(f"portrait: expected one of {', '.join(_LOADERS)}, found {name!r}")
    try:
        return _LOADERS[name]()
    except ImportError as error:
        raise PortraitsMissing(
            f"portrait {name}: expected the package {error.name} that carries it, found none; "
            "install it with pip install 'padflow[demo]'"
        ) from error


def _hopper() -> Portrait:
    from matplotlib.cbook import get_sample_data

    path = get_sample_data("grace_hopper.jpg", asfileobj=False)
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise PortraitsMissing(
            f"portrait hopper: expected a JPEG picture at {path}, found none; reinstall matplotlib"
        )
    return Portrait(
        "hopper",
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB),
        np.array([[226, 190], [305, 188]], np.float32),
        np.array(_HOPPER_OUTLINE, np.float32),
        "Commodore Grace M. Hopper, US Navy, 1984; public domain; from matplotlib",
    )


def _astronaut() -> Portrait:
    from skimage import data

    picture: Array = data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image has no types

    return Portrait(
        "astronaut",
        np.ascontiguousarray(picture[..., :3]),
        np.array([[200, 101], [246, 103]], np.float32),
        np.array(_ASTRONAUT_OUTLINE, np.float32),
        "Eileen M. Collins, NASA; public domain; from scikit-image",
    )


_LOADERS: MappingProxyType[str, Callable[[], Portrait]] = MappingProxyType(
    {"astronaut": _astronaut, "hopper": _hopper}
)

_HOPPER_OUTLINE = (
    *((11, 720), (15, 590), (19, 520), (27, 440), (40, 395), (75, 372), (130, 350), (190, 324)),
    *((200, 312), (192, 296), (178, 285), (164, 265), (160, 237), (152, 205), (155, 185)),
    *((157, 160), (147, 130), (150, 105), (175, 84), (177, 60), (190, 46), (225, 27), (262, 22)),
    *((300, 28), (335, 54), (354, 86), (370, 94), (371, 140), (368, 172), (376, 195), (370, 225)),
    *((356, 255), (352, 280), (336, 305), (331, 318), (390, 344), (450, 368), (485, 385)),
    *((500, 410), (515, 460), (530, 540), (548, 720)),
)
_ASTRONAUT_OUTLINE = (
    *((20, 560), (22, 440), (28, 380), (33, 320), (52, 268), (85, 236), (118, 208), (112, 190)),
    *((124, 166), (150, 151), (182, 151), (184, 135), (172, 118), (160, 112), (153, 88)),
    *((160, 58), (180, 33), (205, 18), (235, 14), (265, 22), (290, 44), (301, 75), (299, 100)),
    *((285, 122), (272, 130), (262, 155), (262, 172), (285, 186), (303, 216), (304, 238)),
    *((330, 252), (350, 280), (360, 320), (362, 350), (385, 344), (420, 346), (455, 365)),
    *((485, 398), (502, 440), (514, 500), (520, 560)),
)
