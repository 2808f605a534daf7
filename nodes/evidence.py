"""What a cue says, and the words it says it with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why a cue gives no value, or why a verdict is what it is: codes with one meaning each."""

    FACE_TOO_SMALL = "face_too_small"
    FACE_NOT_FRONTAL = "face_not_frontal"
    FACE_OCCLUDED = "face_occluded"
    FACE_NOT_SEEN = "face_not_seen"
    FACE_CUT_OFF = "face_cut_off"
    """Part of the face lies outside the picture."""
    FACE_AT_LOWER_EDGE = "face_at_lower_edge"
    """The picture ends so close below the face that what holds a print or screen is not seen."""
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    NO_COLOUR = "no_colour"
    """The camera gives a picture without colour, as at night under infrared light."""
    BLURRED = "blurred"
    TOO_MUCH_MOTION = "too_much_motion"
    TOO_LITTLE_MOTION = "too_little_motion"
    FLOW_UNRELIABLE = "flow_unreliable"
    SURROUNDINGS_PLAIN = "surroundings_plain"
    """Around the face is nothing that could be seen to stay or to move: a bare wall."""
    WHOLE_PICTURE_MOVES = "whole_picture_moves"
    """All that could be followed moves with the face: a camera that shakes, or a print or display
    that fills the picture."""
    MESH_UNSTEADY = "mesh_unsteady"
    FRAMES_DROPPED = "frames_dropped"
    FRAME_RATE_TOO_LOW = "frame_rate_too_low"
    WINDOW_TOO_SHORT = "window_too_short"
    STATE_RESET_GAP = "state_reset_gap"
    STATE_RESET_EPOCH = "state_reset_epoch"
    STATE_RESET_FAULT = "state_reset_fault"
    FACE_CHANGED = "face_changed"
    FACE_WAS_AWAY = "face_was_away"
    NO_PULSE_FOUND = "no_pulse_found"
    PULSE_REGIONS_DISAGREE = "pulse_regions_disagree"
    PULSE_METHODS_DISAGREE = "pulse_methods_disagree"
    LIGHT_FLICKERS = "light_flickers"
    TOO_COMPRESSED = "too_compressed"
    ENGINE_MISSING = "engine_missing"
    NOT_A_NUMBER = "not_a_number"
    UNLIKE_TRAINING = "unlike_training"
    NO_APPEARANCE_EVIDENCE = "no_appearance_evidence"
    MANDATORY_CUE_MISSING = "mandatory_cue_missing"
    MANDATORY_CUE_STALE = "mandatory_cue_stale"
    EVIDENCE_WEAK = "evidence_weak"
    WATCHED_TOO_SHORT = "watched_too_short"
    NO_EVIDENCE = "no_evidence"
    EVIDENCE_STALE = "evidence_stale"
    EVIDENCE_FOR_LIVE = "evidence_for_live"
    EVIDENCE_FOR_ATTACK = "evidence_for_attack"
    DECISION_PENDING = "decision_pending"
    """The evidence is over a threshold, but not yet for as long as the policy wants."""
    DECISION_TIMEOUT = "decision_timeout"
    STATE_LOST = "state_lost"
    """The process that watched the face was lost, and all that it knew with it."""


RESET_REASONS: Mapping[str, Reason] = {
    "gap": Reason.STATE_RESET_GAP,
    "epoch": Reason.STATE_RESET_EPOCH,
    "fault": Reason.STATE_RESET_FAULT,
}
"""Codes by why a state began anew (``Begin.reason``)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one cue found in one window of one track."""

    cue: str
    """Name of the cue, e.g. ``pulse``, ``depth``, ``patch``."""
    window: tuple[float, float]
    """First and last capture time looked at, in seconds on the stream's clock."""
    llr: float | None
    """Log-likelihood ratio in nats, positive speaks for a living person; None is no value."""
    reasons: tuple[str, ...] = ()
    """Codes of :class:`Reason`. Never empty where ``llr`` is None."""
    engine: str = ""
    """Name of the engine that gave it, empty for a cue without one."""
    engine_sha256: str = ""
    details: Mapping[str, float] = field(default_factory=dict)
    """Measured values behind the ratio. May be health data (heart rate): sinks leave it out
    unless the user switched it on."""
