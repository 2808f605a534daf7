"""The face in its surroundings (skin, paper, the edge of a sheet, a hand): ``context_net``.

A network of natural pictures sees the face and what is around it, a head of ours judges what it
sees; :mod:`padflow.engines.natural_features` says why.
"""

import numpy as np

from .appearance import AppearanceNode
from .payloads import FaceViews


class ContextNet(AppearanceNode[FaceViews]):
    """Evidence ``context``: the score of the tight, the middle and the wide view together."""

    cue = "context"
    own = "views"
    payload = FaceViews

    def pictures(self, face: FaceViews) -> np.ndarray:
        """All views, as one picture of the network."""
        self.check_views(face)
        return face.images[None]
