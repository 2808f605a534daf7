"""Texture of the face's own pixels: the node ``patch_net``.

After Atoum et al., *Face Anti-Spoofing Using Patch and Depth-Based CNNs* (IJCB 2017), whose
network judges each patch alone, and the scores of a face's patches are averaged. The other shipped
network, ``patch_natural``, sees four patches side by side through a network of natural pictures.
"""

import numpy as np

from ..engines import BundleError
from .appearance import AppearanceNode
from .crops import MOSAIC_SCALES, patch_mosaic
from .payloads import FacePatches


class PatchNet(AppearanceNode[FacePatches]):
    """Evidence ``patch``: the score of a face's patches, together or in the mean."""

    cue = "patch"
    own = "patch_light"
    payload = FacePatches

    def pictures(self, face: FacePatches) -> np.ndarray:
        """Every patch, or those of the mosaic as one picture of the network."""
        scales = self.scales_wanted
        if scales is None:
            return face.images
        if scales != MOSAIC_SCALES:
            raise BundleError(
                f"{self.cue}: expected a network that takes a mosaic of patches, found one that "
                f"takes views of a face ({', '.join(f'{scale:g}' for scale in scales)} times its "
                "box); give this node a bundle for patches"
            )
        return patch_mosaic(face.images)[None]
