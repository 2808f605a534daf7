"""Cuts a face into patches of its own pixels: the node ``patches``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Interval

from ..graph.node import Contract, Node, Outputs, Port
from ..graph.packet import Packet
from .crops import MOST_PATCHES, PATCH_COUNT, patches_of
from .payloads import FaceCrop, FacePatches


@dataclass(frozen=True)
class PatchesParams:
    """Settings of :class:`Patches`."""

    count: Annotated[int, Interval(ge=1, le=MOST_PATCHES)] = PATCH_COUNT
    """Patches of a face; one that is narrower than a patch gives a single one."""


class Patches(Node[PatchesParams]):
    """Patches at fixed places of the mesh, neither enlarged nor shrunk nor turned.

    What a print or a display does to the finest detail (dots, sub-pixels, moiré) is there only in
    the frame's own pixels (Atoum et al. 2017).
    """

    Params = PatchesParams

    @classmethod
    def contract(cls, params: PatchesParams) -> Contract:
        """Each face on its own."""
        return Contract(
            inputs={"faces": Port(FaceCrop, "faces in the frame's own pixels")},
            outputs={"patches": Port(FacePatches, "patches of each face")},
        )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Cut every face of the batch."""
        return {"patches": [packet.carry(self._cut(packet.payload)) for packet in packets]}

    def _cut(self, face: FaceCrop) -> FacePatches:
        return FacePatches(patches_of(face.image, face.mesh, self.params.count), face.quality)
