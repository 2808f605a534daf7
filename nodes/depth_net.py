"""Relief and shading of the face: the node ``depth_net``.

The depth network of Liu, Jourabloo and Liu, *Learning Deep Models for Face Anti-Spoofing: Binary or
Auxiliary Supervision* (CVPR 2018), is trained to see a face's relief in a living one and a plane in
a print or a display.
"""

from collections.abc import Mapping

import numpy as np

from ..graph.node import NodeContext, Port
from ..graph.packet import Packet
from .appearance import AppearanceNode, Reading
from .payloads import DepthMap, FaceCrop


class DepthNet(AppearanceNode[FaceCrop]):
    """Evidence ``depth``: the score of the face crop; and the depth map behind it."""

    cue = "depth"
    own = "depth_light"
    payload = FaceCrop
    outputs_wanted = frozenset({"score", "strangeness", "depth"})

    @classmethod
    def more(cls) -> Mapping[str, Port]:
        """The depth map."""
        return {"depth": Port(DepthMap, "the relief that the network sees, to look at")}

    def open(self, context: NodeContext) -> None:
        """Load the network; see :meth:`AppearanceNode.open`."""
        super().open(context)
        self._wants_depth = context.wants("depth")

    def pictures(self, face: FaceCrop) -> np.ndarray:
        """The crop."""
        self.check_scale(face)
        return face.image[None]

    def extra(self, packet: Packet, reading: Reading) -> Mapping[str, Packet]:
        """The depth map, where something takes it."""
        if not self._wants_depth:
            return {}
        return {"depth": packet.carry(DepthMap(reading.outputs["depth"][0]))}
