"""The policy: what a verdict needs, as data with its units, and the mathematics of its thresholds.

docs/POLICY.md derives the thresholds and says what they assume.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from math import log
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt, Le, Lt

from ..graph.errors import GraphDefinitionError
from ..graph.plain_yaml import read_yaml
from ..graph.schema import parse
from .evidence import Reason
from .payloads import FaceObservation
from .quality import LEAST_BELOW, LEAST_COLOUR, LEAST_INSIDE

Rate = Annotated[float, Gt(0), Lt(0.5)]
Share = Annotated[float, Ge(0), Le(1)]
Seconds = Annotated[float, Ge(0)]
PositiveSeconds = Annotated[float, Gt(0)]
Nats = Annotated[float, Ge(0)]
PositiveNats = Annotated[float, Gt(0)]


class PolicyError(GraphDefinitionError, ValueError):
    """A policy that cannot be read or contradicts itself; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class TargetRates:
    """The error rates that the thresholds are set for (ISO/IEC 30107-3 names)."""

    apcer: Rate = 0.05
    """Share of attack presentations that may be called LIVE."""
    bpcer: Rate = 0.04
    """Share of living people that may be called SPOOF."""
    measured: bool = True
    """Decide where the learned fusion has measured that these rates are kept, on recordings of
    people that it was learned without; where it has not, at Wald's bounds, which are further out.
    False: always at the bounds."""


@dataclass(frozen=True, slots=True)
class Early:
    """What a verdict takes before ``watching.min_time``: less time for stronger evidence.

    The later part of a sequential test has thresholds closer together, the earlier one further
    apart. They are never closer than the usual ones, whatever the rates.
    """

    from_time: Annotated[float, Ge(0)] = 0.4
    """Seconds of watching before which nothing is decided; ``watching.min_time`` and more: nothing
    is decided early."""
    apcer: Rate = 0.03
    """Share of attack presentations that may be called LIVE by the early thresholds."""
    bpcer: Rate = 0.03
    """Share of living people that may be called SPOOF by them."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What mistakes cost, in any one unit; only the ratio matters."""

    accepted_attack: Annotated[float, Gt(0)] = 1.0
    """Cost of calling an attack LIVE."""
    rejected_live: Annotated[float, Gt(0)] = 1.0
    """Cost of calling a living person SPOOF."""


@dataclass(frozen=True, slots=True)
class MandatoryGroup:
    """Cues of which at least one must be present and fresh for LIVE."""

    any_of: tuple[str, ...]
    """Names of the cues; one of them is enough."""
    reason: str = Reason.MANDATORY_CUE_MISSING.value
    """Reason code of the verdict while none of them has a value."""
    max_age: PositiveSeconds = 1.5
    """Oldest end of the newest valued window, in seconds before the verdict."""
    min_llr: float = 0.0
    """Least ratio in nats that one fresh cue of the group must show: with 0, a group that speaks
    for an attack cannot be outvoted by other cues."""


@dataclass(frozen=True, slots=True)
class CuePolicy:
    """How much one cue may say, and for how long."""

    weight: Share = 1.0
    """Factor on the cue's ratio; below 1 for a cue that is trusted less than its calibration."""
    min_llr: Annotated[float, Le(0)] = -6.0
    """Lowest ratio in nats that the cue can add."""
    max_llr: Nats = 6.0
    """Highest ratio in nats that the cue can add."""
    rho: Annotated[float, Ge(0), Le(1)] = 0.9
    """Correlation of two windows of the cue whose middles lie one second apart, beyond ``shared``.
    1: a second look adds nothing; 0: windows that do not overlap count as independent."""
    shared: Share = 0.0
    """Correlation of two windows however far apart they lie: what a cue has wrong about one face
    stays wrong. However long it looks, it counts for at most ``1 / shared`` windows."""
    memory: PositiveSeconds = 6.0
    """Time constant in seconds with which older windows lose weight."""
    max_windows: Annotated[float, Ge(1)] = 3.0
    """Most independent windows that the cue may count for."""
    max_age: PositiveSeconds = 5.0
    """Seconds after its newest valued window at which what the cue said for LIVE is void; what it
    said for an attack fades from there with ``memory``."""
    drop: PositiveNats | None = None
    """Fall of the ratio in nats, from what it mostly was to all of its looks of the last
    ``watching.change_span`` seconds, that means that something else stands there now. Everything
    that spoke for LIVE before is void then, whatever cue said it. A fall that lasts k such spans,
    2 to 4, with no look above 0.7 nats in it, need be only ``drop`` / sqrt(k), and one that begins
    where the face was hidden only ``drop`` / 2. null: never."""


@dataclass(frozen=True, slots=True)
class Correlated:
    """Cues that look at the same thing and so repeat each other."""

    cues: tuple[str, ...]
    """Names of the cues."""
    rho: Share
    """Discount: of the cues that agree in sign the strongest counts in full, the others count
    ``1 - rho``."""


@dataclass(frozen=True, slots=True)
class JointLimit:
    """Cues that the same attacks pass, so that together they prove no more than one of them."""

    cues: tuple[str, ...]
    """Names of the cues."""
    max_llr: Nats
    """Most in nats that those of them which speak for LIVE add together."""


NETWORK_CUE = CuePolicy(max_age=4.0, drop=3.7)
"""A network errs in the same way on every frame of one attack: its rho stays high. Where a
print or a display came before a living face, on the same track, its ratio mostly fell by more than
5 nats, and by 3 for good where a print filled the picture; where a hand signed before the mouth, by
3.1 for less than a second."""

PULSE_CUE = CuePolicy(min_llr=-1.5, max_llr=2.0, memory=15.0, max_windows=2.0, max_age=4.0)
"""Weak by nature, so it reaches neither default threshold alone."""

NETWORK_CUE_OVER_TIME = CuePolicy(max_age=4.0)
"""A network that sees several samples: a fall of its ratio may be a face that holds still."""

LIFE_CUE = CuePolicy(1.0, -1.6, 0.8, 0.95, memory=10.0, max_windows=1.0, max_age=4.0)
"""A replay moves too, and its windows of 20 s overlap: docs/CUES.md."""

PLANARITY_CUE = CuePolicy(1.0, -1.5, 0.7, memory=10.0, max_windows=2.0)
"""Masks and replays of a turning head have a relief too: docs/CUES.md."""
SURROUNDINGS_CUE = CuePolicy(1.0, -3.0, 0.3, memory=10.0, max_windows=2.0)
"""Masks, displays on a stand and sheets no larger than a head leave the room alone, as the living
do: docs/CUES.md."""


@dataclass(frozen=True, slots=True)
class QualityGates:
    """What an observation must show to count as usable. None of them can make a verdict LIVE."""

    min_face: Annotated[float, Ge(0)] = 48.0
    """Least face width in pixels of the frame."""
    min_presence: Share = 0.5
    """Least probability of the mesh network that a face is there."""
    min_sharpness: Share = 0.02
    """Least sharpness, 0 blurred to 1 sharp."""
    min_exposure: Annotated[float, Ge(0), Le(255)] = 25.0
    """Least mean luma of the skin, 0 to 255."""
    max_exposure: Annotated[float, Ge(0), Le(255)] = 235.0
    """Greatest mean luma of the skin, 0 to 255."""
    max_clipped: Share = 0.5
    """Greatest share of skin pixels at the ends of the range."""
    min_colour: Annotated[float, Ge(0)] = LEAST_COLOUR
    """Least reach of the picture's colours, in levels of chroma."""
    min_inside: Share = LEAST_INSIDE
    """Least share of the face's box within the picture."""
    min_below: Annotated[float, Ge(-10), Le(10)] = LEAST_BELOW
    """Least heights of the face's box that the picture shows below it."""
    max_yaw: Annotated[float, Gt(0), Le(180)] = 45.0
    """Greatest turn of the head to either side, in degrees."""
    max_pitch: Annotated[float, Gt(0), Le(180)] = 35.0
    """Greatest turn of the head up or down, in degrees."""
    max_occlusion: Share = 0.6
    """Greatest share of the face that may be covered."""
    max_motion: Annotated[float, Gt(0)] = 8.0
    """Greatest speed of the face, in face widths per second."""
    min_usable_share: Share = 0.5
    """Least share of usable observations among those of the last ``share_window`` seconds."""
    share_window: PositiveSeconds = 2.0
    """Seconds over which the usable share is taken."""

    def failures(self, observation: FaceObservation) -> tuple[str, ...]:
        """Reason codes of every gate that the observation does not pass (NaN passes none)."""
        q = observation.quality
        failed = []
        if not (observation.usable and q.presence >= self.min_presence):
            failed.append(Reason.FACE_NOT_SEEN.value)
        if not q.size >= self.min_face:
            failed.append(Reason.FACE_TOO_SMALL.value)
        if not q.sharpness >= self.min_sharpness:
            failed.append(Reason.BLURRED.value)
        if not q.exposure >= self.min_exposure:
            failed.append(Reason.TOO_DARK.value)
        if not (q.exposure <= self.max_exposure and q.clipped <= self.max_clipped):
            failed.append(Reason.TOO_BRIGHT.value)
        if not q.colour >= self.min_colour:
            failed.append(Reason.NO_COLOUR.value)
        if not q.inside >= self.min_inside:
            failed.append(Reason.FACE_CUT_OFF.value)
        if not q.below >= self.min_below:
            failed.append(Reason.FACE_AT_LOWER_EDGE.value)
        if not (abs(q.yaw) <= self.max_yaw and abs(q.pitch) <= self.max_pitch):
            failed.append(Reason.FACE_NOT_FRONTAL.value)
        if not q.occlusion <= self.max_occlusion:
            failed.append(Reason.FACE_OCCLUDED.value)
        if not q.motion <= self.max_motion:
            failed.append(Reason.TOO_MUCH_MOTION.value)
        return tuple(failed)


@dataclass(frozen=True, slots=True)
class Watching:
    """How long a track is watched before and until a decision."""

    min_time: Seconds = 1.0
    """Seconds before which only evidence that passes the ``early`` thresholds decides; without it
    the verdict is UNDECIDED with ``watched_too_short``."""
    max_time: PositiveSeconds = 15.0
    """Seconds after which a track that was never decided is told as ``decision_timeout``. The
    watching goes on: later evidence may still decide it."""
    max_gap: PositiveSeconds = 2.0
    """Longest time in seconds without an observation; past it the evidence is forgotten, since
    nobody saw whether it is still the same face."""
    max_unseen: Seconds = 0.5
    """Longest time in seconds for which the track may go on without its face being seen. Past it
    what spoke for LIVE is void and the watching begins anew: something else may have come into
    the face's place. What spoke for an attack stays."""
    change_span: PositiveSeconds = 0.5
    """Seconds for which a cue must have fallen by its ``drop`` without a break."""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """What keeps a verdict from flickering. Missing or stale mandatory cues end LIVE at once."""

    margin: Nats = 0.5
    """A LIVE or SPOOF verdict is given up only when the ratio is this far (nats) inside its
    threshold."""
    dwell: Seconds = 0.4
    """Seconds for which a change must be called for without a break before it is made."""


@dataclass(frozen=True, slots=True)
class Emission:
    """When verdict events are sent besides every change of state and the end of the track."""

    heartbeat: PositiveSeconds = 1.0
    """Seconds of capture time after which an unchanged verdict is told again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a verdict needs. :attr:`id` names it in every verdict."""

    name: str = "default"
    """Name for people; the id adds a digest of all values."""
    targets: TargetRates = TargetRates()
    """Error rates that the thresholds are set for."""
    early: Early | None = Early()
    """What a verdict takes before ``watching.min_time``. null: none comes before."""
    prior_live: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Probability, before any evidence, that a face is a living person. Moves ``p_live`` (and the
    Bayes threshold, where ``costs`` are given), never the error-rate thresholds."""
    costs: Costs | None = None
    """If given, LIVE and SPOOF must also be the cheaper choice under these costs and the prior."""
    mandatory: tuple[MandatoryGroup, ...] = (
        MandatoryGroup(("context",), Reason.NO_APPEARANCE_EVIDENCE.value),
    )
    """Groups of cues; each needs a fresh value for LIVE. Measured thresholds rest on ``context``:
    what the others add up to by themselves reaches them for attacks as for the living."""
    spoof_needs_mandatory: bool = False
    """True: SPOOF needs the mandatory cues as well. False: any valued cues may reach it."""
    default_cue: CuePolicy = CuePolicy()
    """Limits of every cue that ``cues`` does not name."""
    cues: Mapping[str, CuePolicy] = field(
        default_factory=lambda: {
            "pulse": PULSE_CUE,
            "rppg": PULSE_CUE,
            "rppg_depth": PULSE_CUE,
            "life": LIFE_CUE,
            "planarity": PLANARITY_CUE,
            "surroundings": SURROUNDINGS_CUE,
            "motion": NETWORK_CUE_OVER_TIME,
            "depth": NETWORK_CUE,
            "patch": NETWORK_CUE,
            "context": NETWORK_CUE,
        }
    )
    """Limits by cue name."""
    correlated: tuple[Correlated, ...] = (
        Correlated(("depth", "patch", "context", "motion"), 0.3),
        Correlated(("pulse", "rppg", "rppg_depth"), 0.7),
    )
    """Sets of cues that repeat each other; a cue may be in one set, here or below."""
    joint_limits: tuple[JointLimit, ...] = (JointLimit(("life", "planarity", "surroundings"), 0.8),)
    """Sets of cues that the same attacks pass: a mask or a paper that is worn moves, blinks and
    leaves the room alone as its wearer does."""
    quality: QualityGates = QualityGates()
    """What makes an observation usable."""
    watching: Watching = Watching()
    """Minimum and maximum times."""
    expiry: PositiveSeconds = 3.0
    """Seconds for which a verdict holds; LIVE never outlasts its mandatory evidence."""
    hysteresis: Hysteresis = Hysteresis()
    """What keeps a verdict from flickering."""
    emission: Emission = Emission()
    """When events are sent."""

    def __post_init__(self) -> None:
        """Refuse what each field alone allows but all together contradict."""
        if not self.expiry > self.emission.heartbeat:
            raise PolicyError(
                f"policy {self.name}: expiry ({self.expiry} s) must be longer than "
                f"emission.heartbeat ({self.emission.heartbeat} s), or a standing verdict "
                "would run out between two events; raise expiry or lower the heartbeat"
            )
        if not self.watching.max_time > self.watching.min_time:
            raise PolicyError(
                f"policy {self.name}: watching.max_time ({self.watching.max_time} s) must be "
                f"longer than watching.min_time ({self.watching.min_time} s)"
            )
        for group in self.mandatory:
            if not group.any_of:
                raise PolicyError(
                    f"policy {self.name}: a mandatory group has an empty any_of, which no "
                    "evidence can meet; name at least one cue or remove the group"
                )
        named = [cue for group in self._sets for cue in group.cues]
        twice = sorted({cue for cue in named if named.count(cue) > 1})
        if twice:
            raise PolicyError(
                f"policy {self.name}: cue {twice[0]} stands in two sets of correlated and "
                "joint_limits, where one is allowed; put the cues into one set"
            )

    @property
    def id(self) -> str:
        """``name@`` and the first 12 hex digits of the SHA-256 of all values but the name."""
        values = {key: value for key, value in as_mapping(self).items() if key != "name"}
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return f"{self.name}@{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"

    @property
    def thresholds(self) -> tuple[float, float]:
        """Ratios in nats: SPOOF at or below the first, LIVE at or above the second.

        They hold where no fusion has measured others.
        """
        return self.no_laxer_than_costs(*error_rate_thresholds(self.targets))

    @property
    def early_targets(self) -> TargetRates | None:
        """Rates that the early thresholds are set for; None where nothing is decided early."""
        early = self.early
        if early is None or not early.from_time < self.watching.min_time:
            return None
        apcer, bpcer = min(early.apcer, self.targets.apcer), min(early.bpcer, self.targets.bpcer)
        return TargetRates(apcer, bpcer, self.targets.measured)

    @property
    def early_thresholds(self) -> tuple[float, float] | None:
        """As :attr:`thresholds`, before ``watching.min_time``; None: nothing is decided then."""
        targets = self.early_targets
        if targets is None:
            return None
        return outer(error_rate_thresholds(targets), self.thresholds)

    @property
    def decides_from(self) -> float:
        """Seconds of watching before which nothing is decided."""
        early = self.early
        earliest = self.watching.min_time
        return earliest if early is None else min(early.from_time, earliest)

    def no_laxer_than_costs(self, spoof: float, live: float) -> tuple[float, float]:
        """Thresholds in nats, moved outwards where the other verdict would be the cheaper one."""
        if self.costs is None:
            return spoof, live
        bayes = bayes_threshold(self.costs, self.prior_live)
        return outer((spoof, live), (bayes, bayes))

    def cue(self, name: str) -> CuePolicy:
        """The limits of a cue."""
        return self.cues.get(name, self.default_cue)

    @property
    def _sets(self) -> tuple[Correlated | JointLimit, ...]:
        return (*self.correlated, *self.joint_limits)

    @property
    def named_cues(self) -> tuple[str, ...]:
        """Every cue that the policy names anywhere, sorted."""
        together = (cue for group in self._sets for cue in group.cues)
        return tuple(sorted({*self.cues, *self.asked_cues, *together}))

    @property
    def asked_cues(self) -> tuple[str, ...]:
        """Every cue of the mandatory groups, sorted."""
        return tuple(sorted({cue for group in self.mandatory for cue in group.any_of}))


def error_rate_thresholds(targets: TargetRates) -> tuple[float, float]:
    """Wald's thresholds (1945) of the sequential probability ratio test, in nats.

    Returns:
        log(BPCER / (1 - APCER)) and log((1 - BPCER) / APCER). With calibrated ratios, acting at
        the first crossing keeps APCER below ``apcer / (1 - bpcer)`` and BPCER below
        ``bpcer / (1 - apcer)``.
    """
    return log(targets.bpcer / (1 - targets.apcer)), log((1 - targets.bpcer) / targets.apcer)


def outer(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The stricter of two pairs of thresholds (SPOOF's, LIVE's) on either side."""
    return min(one[0], other[0]), max(one[1], other[1])


def bayes_threshold(costs: Costs, prior_live: float) -> float:
    """Ratio in nats above which LIVE has the lower expected cost."""
    odds_against = (1 - prior_live) / prior_live
    return log(costs.accepted_attack / costs.rejected_live) + log(odds_against)


def as_mapping(policy: Policy) -> dict[str, Any]:
    """The policy as plain mappings, lists and scalars, defaults included."""
    return dict(json.loads(json.dumps(asdict(policy))))


def parse_policy(mapping: Mapping[str, Any], where: str) -> Policy:
    """A policy from plain mappings, laid over the default one.

    A mapping is merged key by key, so that ``cues: {pulse: {memory: 20}}`` keeps the pulse's caps;
    a list replaces the default's. Unknown keys and wrong values are errors that name them.

    Raises:
        GraphDefinitionError: a key is unknown, a value has the wrong type or range, or the values
            contradict each other.
    """
    return parse(Policy, _laid_over(as_mapping(Policy()), mapping), where)


def load_policy(source: str | Path = "default") -> Policy:
    """A policy by name of a shipped one (``default``) or from a YAML file.

    Raises:
        PolicyError: the file cannot be read or is not YAML.
        GraphDefinitionError: a key is unknown, a value has the wrong type or range, or the values
            contradict each other.
    """
    text, where = _read(source)
    try:
        content = read_yaml(text)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise PolicyError(f"policy {where} is not valid YAML: {detail}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise PolicyError(
            f"policy {where} must be a mapping of names to values, found a {type(content).__name__}"
        )
    return parse_policy(content, f"policy {where}")


def shipped_policies() -> list[str]:
    """Names of the policies that come with padflow."""
    folder = files(__package__).joinpath("policies")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())


def resolve_policy(policy: Policy | str) -> Policy:
    """The policy itself, where a shipped one's name or a path stands for it."""
    if not isinstance(policy, str):
        return policy
    return _default() if policy == "default" else load_policy(policy)


@cache
def _default() -> Policy:
    return load_policy()  # asked for by every node that is made and every contract that is read


def dump_policy(policy: Policy) -> str:
    """The policy as YAML, every value written out; :func:`load_policy` reads it back."""
    return yaml.safe_dump(as_mapping(policy), sort_keys=False)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(lower, Mapping) and isinstance(value, Mapping):
            value = _laid_over(lower, value)
        merged[key] = value
    return merged


def _read(source: str | Path) -> tuple[str, str]:
    shipped = files(__package__).joinpath("policies", f"{source}.yaml")
    if str(source).isidentifier() and shipped.is_file():
        return shipped.read_text(encoding="utf-8"), str(source)
    try:
        return Path(source).read_text(encoding="utf-8"), str(source)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PolicyError(
            f"policy {source} cannot be read ({why}); give a YAML file or the name of a shipped "
            f"policy: {', '.join(shipped_policies())}"
        ) from error
