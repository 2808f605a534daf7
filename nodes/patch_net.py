"""Texture of the face's own pixels: the node ``patch_net``.

The patch network of Atoum et al., *Face Anti-Spoofing Using Patch and Depth-Based CNNs* (IJCB
2017): each patch is judged alone, and the scores of a face's patches are averaged.
"""

import numpy as np

from .appearance import AppearanceNode
from .payloads import FacePatches


class PatchNet(AppearanceNode[FacePatches]):
    """Evidence ``patch``: the mean score of a face's patches."""

    cue = "patch"
    own = "patch_light"
    payload = FacePatches

    def pictures(self, face: FacePatches) -> np.ndarray:
        """Every patch."""
        return face.images
