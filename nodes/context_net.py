"""What is around the face (the edge of a sheet, a hand, a bezel): the node ``context_net``."""

import numpy as np

from .appearance import AppearanceNode
from .payloads import FaceCrop


class ContextNet(AppearanceNode[FaceCrop]):
    """Evidence ``context``: the score of the wide crop."""

    cue = "context"
    own = "context"
    payload = FaceCrop

    def pictures(self, face: FaceCrop) -> np.ndarray:
        """The crop."""
        self.check_scale(face)
        return face.image[None]
