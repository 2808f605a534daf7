"""Align: from a tracked box to a mesh, a pose, skin colours and face crops.

Everything comes from one 192x192 crop a frame, made straight from the decoder's planes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import hypot, inf
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval, MultipleOf

from ..graph.node import Begin, Contract, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from . import canonical
from .clock import LEAST_STEP
from .crops import (
    CONTEXT_SCALE,
    CONTEXT_SIZE,
    FACE_SCALE,
    FACE_SIZE,
    balanced_to_rgb,
    face_views,
    native_square,
    view_scales,
)
from .frame import Frame
from .mesh import CROP_SIDE, MeshNet, MeshReading, MeshTrack, follow, square_of_mesh, to_crop
from .pace import Alarms, Pace, Pacer, Sight
from .payloads import (
    FaceCrop,
    FaceMesh,
    FaceObservation,
    FacePixels,
    FaceSurroundings,
    FaceViews,
    Quality,
    SkinSample,
    TrackedFace,
)
from .pose import PoseSolver
from .quality import FACE_WIDTHS, FaceLooks, OcclusionHint, assess, sharpness, speed
from .skin import SkinMapper, background_mean
from .surroundings_picture import cut_surroundings

_MEASURING_PERIOD = 0.2 - 1e-3
_EARLY = 0.05
"""Seconds by which a picture of the surroundings may come early: the mesh network does not look at
even distances."""

_FIVE_POINTS = np.array(
    [
        *canonical.RIGHT_EYE_CORNERS,
        *canonical.LEFT_EYE_CORNERS,
        canonical.NOSE_TIP,
        canonical.RIGHT_MOUTH_CORNER,
        canonical.LEFT_MOUTH_CORNER,
    ]
)
_FIVE_WEIGHTS = np.zeros((5, 7), np.float32)
_FIVE_WEIGHTS[0, 0:2] = _FIVE_WEIGHTS[1, 2:4] = 0.5
_FIVE_WEIGHTS[[2, 3, 4], [4, 5, 6]] = 1.0


@dataclass(frozen=True)
class AlignParams:
    """Settings of :class:`Align`."""

    scale: Annotated[float, Interval(ge=1.0, le=4.0)] = FACE_SCALE
    """Side of the face crops over the longer side of the face's box (the mesh's, eyes level)."""
    size: Annotated[int, Interval(ge=32, le=1024), MultipleOf(2)] = FACE_SIZE
    """Side of the face crops in pixels."""
    context_scale: Annotated[float, Interval(ge=1.0, le=8.0)] = CONTEXT_SCALE
    """Side of the context crops over the longer side of the face's box: holds what is around."""
    context_size: Annotated[int, Interval(ge=32, le=1024), MultipleOf(2)] = CONTEXT_SIZE
    """Side of the context crops in pixels."""
    cadence_hz: Annotated[float, Ge(0)] = 5.0
    """Crops of each kind a second of capture time of a new face, and at most; 0 makes none."""
    settled_hz: Annotated[float, Gt(0)] = 2.5
    """The same of a face that has been seen for a while; where ``cadence_hz`` is no greater, that
    always counts. Keep two looks within the policy's ``change_span`` (0.5 s), so that a cue which
    falls is noticed without an alarm too, and looks nearer than ``motion_depth.max_gap``."""
    eager_s: Annotated[float, Ge(0)] = 2.0
    """Seconds of usable frames without an alarm for which a face is new: a verdict takes 1.0 s of
    watching and 0.4 s of dwell, and most that come at all have come after 1.5 s."""
    alarms: Alarms = field(default_factory=Alarms)
    """What makes a face new again, besides a frame that is not usable."""
    mesh_hz: Annotated[float, Ge(0)] = 10.0
    """Looks of the mesh network a second of capture time on a face that moves little; between them
    optical flow carries the mesh. A face that was just detected, moves or was lost is looked at in
    every frame; 0 looks at all in every frame."""
    surroundings_hz: Annotated[float, Gt(0)] = 5.0
    """Pictures of a usable face and its surroundings a second of capture time, at most; only of
    frames at which the mesh network looked."""
    presence_on: Annotated[float, Interval(gt=0.0, lt=1.0)] = 0.8
    """An unusable track becomes usable at this presence of the mesh network."""
    presence_off: Annotated[float, Interval(gt=0.0, lt=1.0)] = 0.5
    """A usable track becomes unusable below this presence."""
    max_lost: Annotated[float, Ge(0)] = 0.5
    """Seconds without confirmation by the picture after which a track is not usable."""
    max_gap: Annotated[float, Gt(0)] = 1.0
    """Seconds without a frame after which a track starts afresh."""
    threads: Annotated[int, Ge(1)] = 1
    """CPU threads of the mesh network."""


@dataclass(slots=True)
class AlignState:
    """What is kept of a track. Picklable."""

    mesh: MeshTrack = field(default_factory=MeshTrack)
    looks: FaceLooks = field(default_factory=FaceLooks.unknown)
    present: bool = False
    """The last frame held the face, with hysteresis."""
    seen: tuple[float, float, float] | None = None
    """Capture time and centre of the last frame that held the face, and lay far enough behind
    the one before to tell a speed."""
    motion: float = 0.0
    """Speed of the face then, in face widths per second."""
    sharpness: float = 0.0
    colour: float = 0.0
    measured: float = -inf
    """Capture time at which sharpness and colour were measured."""
    surrounded: float = -inf
    """Capture time of the last picture of the surroundings."""
    pace: Pace = field(default_factory=Pace)


class Align(Node[AlignParams]):
    """Mesh, pose, quality and skin colours on every frame of every track; crops at a cadence.

    A track's observation and skin sample are given for every frame. Where no face is in the crop
    they are not ``usable``, the box is the track's, and the rest is what the network made of it.
    Crops are given for usable frames only, and made only where something takes them.
    """

    Params = AlignParams

    _net: MeshNet | None = None

    @classmethod
    def contract(cls, params: AlignParams) -> Contract:
        """Takes tracked faces; keeps its state by track."""
        return Contract(
            inputs={"tracks": Port(TrackedFace, "one track in one frame")},
            outputs={
                "observations": Port(FaceObservation, "box, landmarks, quality; every frame"),
                "skin": Port(SkinSample, "registered skin colours; every frame"),
                "meshes": Port(FaceMesh, "the mesh and its pose; every frame"),
                "pixels": Port(FacePixels, "the mesh and the picture under it; every frame"),
                "surroundings": Port(
                    FaceSurroundings, "the face before its scene, in grey; surroundings_hz"
                ),
                "crops": Port(FaceCrop, "face pictures for the networks; at the cadence"),
                "contexts": Port(FaceCrop, "the face and what is around it; with the crops"),
                "natives": Port(FaceCrop, "the face in the frame's own pixels; with the crops"),
                "views": Port(FaceViews, "the face and its surroundings, small; with the crops"),
            },
            state="track",
            max_gap=params.max_gap,
        )

    @classmethod
    def engine_names(cls, params: AlignParams) -> tuple[str, ...]:
        """Names of the engines that a node with these parameters loads."""
        return ("face_mesh",)

    def open(self, context: NodeContext) -> None:
        """Load the mesh network.

        Raises:
            ModelMissing: The mesh network has not been pulled.
        """
        self._net = MeshNet(self.params.threads)
        self._pose = PoseSolver()
        self._skin = SkinMapper()
        self._occlusion = OcclusionHint()
        cuts: dict[str, Callable[[Frame, MeshReading, Quality, np.ndarray], FaceCrop]] = {
            "crops": self._crop,
            "contexts": self._context,
            "natives": self._native,
        }
        self._ports = tuple(self.contract(self.params).outputs)
        self._wants = frozenset(port for port in self._ports if context.wants(port))
        self._gives_mesh = not self._wants.isdisjoint(("meshes", "pixels", "surroundings"))
        # Views are made of the face crop and the context crop, whoever else takes these.
        needed = self._wants | ({"crops", "contexts"} if "views" in self._wants else set())
        self._cuts = {port: cut for port, cut in cuts.items() if port in needed}
        params = self.params
        self._pacer: Pacer | None = None
        if self._cuts and params.cadence_hz > 0:
            self._pacer = Pacer(params.cadence_hz, params.settled_hz, params.eager_s, params.alarms)

    def close(self) -> None:
        """Give the network back."""
        if self._net is not None:
            self._net.close()
            self._net = None

    def new_state(self, begin: Begin) -> AlignState:
        """A track that nothing is known of."""
        return AlignState()

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Align every face of the batch; see :class:`Node`."""
        outputs: dict[str, list[Packet]] = {port: [] for port in self._ports}
        for packet, state in zip(packets, states, strict=True):
            self._align(packet, state, outputs)
        return outputs

    def _align(self, packet: Packet, state: AlignState, outputs: dict[str, list[Packet]]) -> None:
        face: TrackedFace = packet.payload
        frame = face.frame
        size = (frame.width, frame.height)
        assert self._net is not None, "open() comes before process()"
        period = 1.0 / self.params.mesh_hz if self.params.mesh_hz else 0.0
        fresh = self._pacer is not None and self._pacer.expects(state.pace, packet.time)
        reading = follow(self._net, frame, face, state.mesh, packet.time, period, fresh)
        present = self._present(reading, state)
        shown = not frame.corrupt and not face.frozen
        usable = present and shown and face.lost_for <= self.params.max_lost
        pose = self._pose.solve(reading.mesh)
        box = reading.box if present else face.box
        motion = _motion(state, packet.time, box.centre, pose.scale) if present else 0.0
        skin = self._skin.sample(reading, pose.rotation, size)
        occlusion = self._occlusion.hint(state.looks, skin, packet.time, learn=usable)
        _measure(state, packet.time, reading, frame)
        measured = state.sharpness, state.colour
        quality = assess(reading, pose, skin, occlusion.share, motion, *measured, size)
        observation = FaceObservation(
            box=box,
            frame_size=size,
            landmarks=five_landmarks(reading.mesh),
            quality=quality,
            usable=usable,
            media_time=frame.media_time,
            utc=frame.utc,
        )
        background = background_mean(reading, size)
        sample = SkinSample(
            grid=skin.grid,
            valid=skin.valid & ~occlusion.departed,
            regions=self._skin.region_means(skin, occlusion.departed),
            background=background,
            quality=quality,
            usable=usable,
        )
        outputs["observations"].append(packet.carry(observation))
        outputs["skin"].append(packet.carry(sample))
        if self._gives_mesh:
            face_mesh = FaceMesh(reading.mesh, pose.rotation, reading.looked, quality, usable)
            self._give_mesh(packet, state, reading, face_mesh, outputs)
        if self._pacer is not None:
            if not usable:
                self._pacer.miss(state.pace)
            elif self._pacer.is_due(
                state.pace, packet.time, lambda: Sight.of(quality, skin.mean, background)
            ):
                self._give_crops(packet, reading, quality, outputs)

    def _give_crops(
        self,
        packet: Packet,
        reading: MeshReading,
        quality: Quality,
        outputs: dict[str, list[Packet]],
    ) -> None:
        frame: Frame = packet.payload.frame
        to_rgb = balanced_to_rgb(frame, reading.mesh)
        made = {port: cut(frame, reading, quality, to_rgb) for port, cut in self._cuts.items()}
        for port, crop in made.items():
            if port in self._wants:
                outputs[port].append(packet.carry(crop))
        if "views" in self._wants:
            face, context = made["crops"], made["contexts"]
            images = face_views(face.image, context.image)
            views = FaceViews(images, view_scales(face.scale, context.scale), quality)
            outputs["views"].append(packet.carry(views))

    def _give_mesh(
        self,
        packet: Packet,
        state: AlignState,
        reading: MeshReading,
        face: FaceMesh,
        outputs: dict[str, list[Packet]],
    ) -> None:
        if "meshes" in self._wants:
            outputs["meshes"].append(packet.carry(face))
        if "pixels" in self._wants:
            outputs["pixels"].append(packet.carry(FacePixels(reading.crop, reading.matrix, face)))
        if "surroundings" in self._wants and face.looked and face.usable:
            since = packet.time - state.surrounded
            if not 0 <= since < 1 / self.params.surroundings_hz - _EARLY:
                state.surrounded = packet.time
                seen = cut_surroundings(packet.payload.frame, face)
                outputs["surroundings"].append(packet.carry(seen))

    def _present(self, reading: MeshReading, state: AlignState) -> bool:
        bound = self.params.presence_off if state.present else self.params.presence_on
        state.present = reading.holds and reading.presence >= bound
        return state.present

    def _crop(
        self, frame: Frame, reading: MeshReading, quality: Quality, to_rgb: np.ndarray
    ) -> FaceCrop:
        scale, size = self.params.scale, self.params.size
        matrix = square_of_mesh(reading.mesh, scale).matrix(size)
        mesh = to_crop(reading.mesh, matrix)
        return FaceCrop(frame.crop(matrix, size, to_rgb), matrix, mesh, scale, quality)

    def _context(
        self, frame: Frame, reading: MeshReading, quality: Quality, to_rgb: np.ndarray
    ) -> FaceCrop:
        scale, size = self.params.context_scale, self.params.context_size
        matrix = square_of_mesh(reading.mesh, scale).matrix(size)
        mesh = to_crop(reading.mesh, matrix)
        return FaceCrop(frame.wide_crop(matrix, size, to_rgb), matrix, mesh, scale, quality)

    def _native(
        self, frame: Frame, reading: MeshReading, quality: Quality, to_rgb: np.ndarray
    ) -> FaceCrop:
        matrix, side = native_square(reading.mesh, frame.width, frame.height)
        mesh = to_crop(reading.mesh, matrix)
        scale = side / max(reading.box.w, reading.box.h, 1.0)
        return FaceCrop(frame.crop(matrix, side, to_rgb), matrix, mesh, scale, quality)


def five_landmarks(mesh: np.ndarray) -> np.ndarray:
    """Right eye, left eye, nose tip, right and left mouth corner, float32 (5, 2)."""
    landmarks: np.ndarray = _FIVE_WEIGHTS @ mesh[_FIVE_POINTS, :2]
    return landmarks


def _measure(state: AlignState, time: float, reading: MeshReading, frame: Frame) -> None:
    """What is measured five times a second: sharpness costs as much as all skin colours."""
    if not 0 <= time - state.measured < _MEASURING_PERIOD:
        side = CROP_SIDE * hypot(float(reading.matrix[0, 0]), float(reading.matrix[1, 0]))
        state.sharpness, state.colour = sharpness(reading.crop, side), frame.colour_reach()
        state.measured = time


def _motion(
    state: AlignState, time: float, centre: tuple[float, float], interocular: float
) -> float:
    """Speed of the face in face widths per second since the last frame that held it."""
    if state.seen is not None:
        before, x, y = state.seen
        if 0 <= time - before < LEAST_STEP:
            return state.motion
        state.motion = speed(centre, (x, y), time - before, interocular * FACE_WIDTHS)
    state.seen = (time, *centre)
    return state.motion
