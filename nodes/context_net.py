"""The face in its surroundings (skin, paper, the edge of a sheet, a hand): ``context_net``.

A network of natural pictures sees the face and what is around it, a head of ours judges what it
sees; :mod:`padflow.engines.natural_features` says why.
"""

import numpy as np

from .appearance import AppearanceNode
from .payloads import FaceViews


class ContextNet(AppearanceNode[FaceViews]):
    """Evidence ``context``: the score of the tight, the middle and the wide view together.

    A network that was trained on the parts of a face besides is given those, too.
    """

    cue = "context"
    own = "views"
    payload = FaceViews

    def pictures(self, face: FaceViews) -> np.ndarray:
        """The views that the network takes, as one picture of it."""
        self.check_views(face)
        assert self.engine is not None, "without an engine every face fails its conditions"
        return face.images[None, : self.engine.inputs[0].shape[1]]
