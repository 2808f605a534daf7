"""Relief and shading of the face: the node ``depth_net``.

The depth network of Liu, Jourabloo and Liu, *Learning Deep Models for Face Anti-Spoofing: Binary or
Auxiliary Supervision* (CVPR 2018), is trained to see a face's relief in a living one and a plane in
a print or a display.
"""

from collections.abc import Mapping

import numpy as np

from ..engines import Engine
from ..graph.node import NodeContext, Port
from ..graph.packet import Packet
from .appearance import AppearanceNode, Reading, check_tensors
from .payloads import DepthFeatures, DepthMap, FaceCrop
from .skin import SkinMapper

STAGES = ("features_1", "features_2", "features_3")
"""Outputs of a depth network that show what its stages see."""


class DepthNet(AppearanceNode[FaceCrop]):
    """Evidence ``depth``: the score of the face crop; the depth map and the features behind it."""

    cue = "depth"
    own = "depth_light"
    payload = FaceCrop
    outputs_wanted = frozenset({"score", "strangeness", "depth"})

    @classmethod
    def more(cls) -> Mapping[str, Port]:
        """The depth map, and what ``motion_depth`` and ``pulse_depth`` go on from."""
        return {
            "depth": Port(DepthMap, "the relief that the network sees, to look at"),
            "features": Port(DepthFeatures, "what its stages see; of every face"),
        }

    def open(self, context: NodeContext) -> None:
        """Load the network; see :meth:`AppearanceNode.open`.

        Raises:
            EngineError: it cannot be loaded, or an edge takes features that it does not give.
        """
        self._wants_depth = context.wants("depth")
        self._wants_features = context.wants("features")
        self._is_asked = "features" in (context.connected or ())
        if self._wants_features:
            self._skin = SkinMapper()
        else:
            self.without = frozenset(STAGES)
        super().open(context)
        manifest = self.engine.manifest if self.engine is not None else None
        self._edition = manifest.edition if manifest is not None else ""

    def check_tensors(self, engine: Engine) -> None:
        """Refuse a network that is not of the kind, before the first face.

        Raises:
            BundleError: an input or output is missing or surplus.
        """
        gives = set(STAGES) <= {spec.name for spec in engine.outputs}
        stages = frozenset(STAGES if self._is_asked else ())
        check_tensors(engine, {"image"}, self.outputs_wanted | stages)
        self._wants_features &= gives

    def pictures(self, face: FaceCrop) -> np.ndarray:
        """The crop."""
        self.check_scale(face)
        return face.image[None]

    def extra(
        self, packet: Packet, reading: Reading | None, reasons: tuple[str, ...]
    ) -> Mapping[str, Packet]:
        """The depth map and the features, where something takes them."""
        given = {}
        if self._wants_depth and reading is not None:
            given["depth"] = packet.carry(DepthMap(reading.outputs["depth"][0]))
        if self._wants_features:
            given["features"] = packet.carry(self._features(packet.payload, reading, reasons))
        return given

    def _features(
        self, face: FaceCrop, reading: Reading | None, reasons: tuple[str, ...]
    ) -> DepthFeatures:
        if reading is None:
            return DepthFeatures((), np.zeros((0, 0), np.float32), face.quality, "", reasons)
        stages = tuple(reading.outputs[name][0] for name in STAGES)
        places = self._skin.shares(face.mesh, face.image.shape[0])
        depth = reading.outputs["depth"][0]
        return DepthFeatures(stages, depth, face.quality, self._edition, places=places)
