"""Adds up what the cues of one track say: the node ``fuse``."""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, inf, isfinite, sqrt
from statistics import median
from typing import Annotated

import numpy as np
from annotated_types import Gt

from ..graph.node import NOTHING, Begin, Contract, Finish, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from ..graph.schema import unknown_name
from .evidence import RESET_REASONS, Evidence, Reason
from .fusion import Fusion, load_fusion
from .payloads import FaceObservation, Fused
from .policy import CuePolicy, Policy, resolve_policy

MOST_WINDOWS = 32
"""Windows remembered per cue: bounds memory and the quadratic sum over pairs."""
_MOST_SPANS = 4
"""Spans of ``watching.change_span`` over which a fall is looked for."""

LITTLE = 0.7
"""Nats: one class twice as probable as the other, the least that a measured threshold for LIVE can
be. A print that fills the picture may show looks on either side of 0."""

TICK = 1e-6
"""Seconds by which float sums of a regular clock may fall short."""


@dataclass(frozen=True)
class FuseParams:
    """Parameters of :class:`Fuse`."""

    policy: Policy | str = "default"
    """The policy itself, the name of a shipped one, or the path of a YAML file."""
    cues: tuple[str, ...] = ("pulse", "depth", "patch", "context", "life")
    """Cues whose nodes are in the graph. What the policy asks for beyond these is reported as
    ``engine_missing``."""
    fusion: str = ""
    """Name or folder of a bundle that says what the cues are worth together; empty: padflow's own;
    ``none``: only what the policy says."""
    period: Annotated[float, Gt(0)] = 0.2
    """Seconds of capture time between two outputs where no new evidence comes."""


@dataclass(frozen=True, slots=True, order=True)
class Look:
    """One valued window of a cue. Ordered by when it ended."""

    end: float
    start: float
    llr: float
    """Nats, already clipped to the cue's limits."""


@dataclass(slots=True)
class CueMemory:
    """What is remembered of one cue of one track."""

    looks: list[Look] = field(default_factory=list)
    """Newest last, at most :data:`MOST_WINDOWS`."""
    valued: Evidence | None = None
    """The newest evidence that had a value."""
    silent: Evidence | None = None
    """The newest evidence, if it had no value."""
    ratio: float = 0.0
    """What the looks add up to, in nats."""


@dataclass(slots=True)
class FuseState:
    """What is remembered of one track."""

    began: str
    """Reason code of the reset that made the state, or empty."""
    memories: dict[str, CueMemory] = field(default_factory=dict)
    usable: deque[tuple[float, bool]] = field(default_factory=deque)
    """Capture time and usability of the observations in the share window."""
    usable_count: int = 0
    first: float = 0.0
    """Capture time of the first observation."""
    latest: Packet | None = None
    """The newest observation."""
    emitted: float = float("-inf")
    """Capture time of the newest output."""
    changed: bool = False
    """Evidence came since the newest output."""
    seen: float | None = None
    """Capture time at which the face was last seen."""
    hidden: float = float("-inf")
    """Capture time of the newest observation in which it was not."""
    renewed_at: float = float("-inf")
    """Capture time before which nothing speaks for LIVE any more."""
    renewed: str = ""
    """Reason code of that, or empty."""


class Fuse(Node[FuseParams]):
    """Keeps the newest evidence of every cue and adds the discounted ratios up.

    Gives a ``Fused`` with the next observation after new evidence, at least every
    ``params.period`` seconds of capture time, and a last one when the track ends. What comes out
    does not depend on the order in which evidence of different windows arrived.

    A track is a place in the picture, not a person. Where its face was away, or a cue falls as only
    another face makes it fall, whatever spoke for LIVE before is void and the watching begins
    anew; what spoke for an attack stays.
    """

    Params = FuseParams

    def __init__(self, params: FuseParams) -> None:
        super().__init__(params)
        self.policy = resolve_policy(params.policy)
        self._fusion: Fusion | None = None
        self._thresholds: tuple[float, float] | None = None
        self._early: tuple[float, float] | None = None
        self._expected = tuple(sorted({*params.cues, *self.policy.asked_cues}))

    @classmethod
    def contract(cls, params: FuseParams) -> Contract:
        """Per track; a gap longer than the policy allows forgets the evidence."""
        return Contract(
            inputs={
                "evidence": Port(Evidence, "what the cues found"),
                "observations": Port(FaceObservation, "every aligned face: drives the output"),
            },
            outputs={"fused": Port(Fused, "all cues together")},
            state="track",
            max_gap=resolve_policy(params.policy).watching.max_gap,
        )

    def open(self, context: NodeContext) -> None:
        """Read the learned fusion; tell where the policy asks for more than it can answer for.

        Raises:
            ModelMissing, BundleError: there is none of that name, or it is no fusion.
        """
        self.use(load_fusion(self.params.fusion))
        if self._fusion is not None:
            for told in self._fusion.out_of_reach(self.policy):
                context.notice(told)
        for told in (*self._unknown_cues(), *self._unmet_groups()):
            context.notice(told)

    def _unmet_groups(self) -> Iterator[str]:
        """What to tell of each mandatory group of which no cue is expected: it bars LIVE."""
        asked = resolve_policy(self.params.policy)
        for group in asked.mandatory:
            if not set(group.any_of) & set(self.params.cues):
                yield (
                    f"policy {asked.name}, mandatory: expected one of {', '.join(group.any_of)} in "
                    "the parameter cues of fuse, found none: nobody becomes LIVE without it; add "
                    "its node to the graph and its name to cues, or give a policy that asks for "
                    "another"
                )

    def _unknown_cues(self) -> Iterator[str]:
        """What to tell of each cue that the policy names and nobody knows: a slip of the pen."""
        shipped, asked = resolve_policy("default"), resolve_policy(self.params.policy)
        known = {*self.params.cues, *shipped.named_cues}
        for cue in asked.named_cues:
            if cue not in known:
                yield (
                    f"policy {asked.name}, cue that is not in the parameter cues of fuse: "
                    f"{unknown_name(cue, sorted(known))}"
                )

    def use(self, fusion: Fusion | None) -> None:
        """Let a learned fusion weigh the cues; None: the policy alone does."""
        self._fusion = fusion
        policy = resolve_policy(self.params.policy)
        self.policy = policy if fusion is None else fusion.applied(policy)
        self._thresholds = None if fusion is None else fusion.thresholds(policy)
        self._early = None if fusion is None else fusion.early_thresholds(policy)

    def new_state(self, begin: Begin) -> FuseState:
        """No evidence; remembers why, so that missing cues can say it.

        In realtime a network may still have something to say of before a gap.
        """
        began = RESET_REASONS.get(begin.reason, "")
        if begin.reason == "gap":
            return FuseState(began, renewed_at=begin.time, renewed=began)
        return FuseState(began)

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[FuseState]) -> Outputs:
        """Take evidence in, give fused ratios with observations."""
        if port == "evidence":
            for packet, state in zip(packets, states, strict=True):
                self._remember(state, packet)
            return NOTHING
        fused = []
        for packet, state in zip(packets, states, strict=True):
            self._observe(state, packet)
            if state.changed or packet.time - state.emitted > self.params.period - TICK:
                fused.append(packet.carry(self._fuse(state, packet)))
        return {"fused": fused} if fused else NOTHING

    def finish(self, state: FuseState, finish: Finish) -> Outputs:
        """Whatever came after the newest output."""
        latest = state.latest
        if latest is None or not (state.changed or latest.time > state.emitted):
            return NOTHING
        return {"fused": [latest.carry(self._fuse(state, latest))]}

    def _remember(self, state: FuseState, packet: Packet) -> None:
        evidence: Evidence = packet.payload
        limits = self.policy.cue(evidence.cue)
        memory = state.memories.setdefault(evidence.cue, CueMemory())
        if (evidence.llr or 0.0) > 0 and evidence.window[0] < state.renewed_at - TICK:
            evidence = replace(evidence, llr=None, reasons=(*evidence.reasons, state.renewed))
        take_evidence(memory, evidence, packet.time, limits)
        state.changed = True
        if limits.drop is not None:
            span = self.policy.watching.change_span
            since = fallen_since(memory.looks, limits.drop, span, state.hidden)
            if since is not None:
                # Never before what was forgotten already: a fall may have begun earlier.
                self._begin_anew(state, max(since, state.renewed_at), Reason.FACE_CHANGED)

    def _begin_anew(self, state: FuseState, since: float, reason: Reason) -> None:
        state.renewed_at, state.renewed = since, reason.value
        state.first = since
        for cue, memory in state.memories.items():
            forget_life(memory, since, self.policy.cue(cue), reason)

    def _observe(self, state: FuseState, packet: Packet) -> None:
        if state.latest is None:
            state.first = packet.time
        state.latest = packet
        if packet.payload.usable:
            away = 0.0 if state.seen is None else packet.time - state.seen
            if away > self.policy.watching.max_unseen:
                self._begin_anew(state, packet.time, Reason.FACE_WAS_AWAY)
            state.seen = packet.time
        else:
            state.hidden = packet.time
        gates = self.policy.quality
        good = not gates.failures(packet.payload)
        state.usable.append((packet.time, good))
        state.usable_count += good
        oldest = packet.time - gates.share_window
        while state.usable[0][0] < oldest:
            state.usable_count -= state.usable.popleft()[1]

    def _fuse(self, state: FuseState, packet: Packet) -> Fused:
        state.emitted = packet.time
        state.changed = False
        evidence = tuple(self._evidence(state, packet.time))
        ratios = {e.cue: e.llr for e in evidence if e.llr is not None}
        llr = add_up(ratios, self.policy) if ratios else None
        fusion = self._fusion
        if llr is not None and fusion is not None:
            llr = fusion.within(llr)
        return Fused(
            llr=llr,
            evidence=evidence,
            observation=packet.payload,
            watched=packet.time - state.first,
            usable_share=state.usable_count / len(state.usable),
            renewed=state.renewed,
            engine=fusion.name if fusion else "",
            engine_sha256=fusion.sha256 if fusion else "",
            thresholds=self._thresholds,
            early_thresholds=self._early,
        )

    def _evidence(self, state: FuseState, now: float) -> Iterable[Evidence]:
        for cue in sorted({*self._expected, *state.memories}):
            memory = state.memories.get(cue)
            if memory is None:
                yield self._missing(cue, state, now)
            else:
                yield in_force(cue, memory, now, self.policy.cue(cue))

    def _missing(self, cue: str, state: FuseState, now: float) -> Evidence:
        has_node = cue in self.params.cues
        reason = Reason.WINDOW_TOO_SHORT if has_node else Reason.ENGINE_MISSING
        reset = (state.began,) if state.began and has_node else ()
        return Evidence(cue, (state.first, now), None, (reason.value, *reset))


def take_evidence(memory: CueMemory, evidence: Evidence, now: float, limits: CuePolicy) -> None:
    """Update what is remembered of a cue. A value that is no number is no evidence."""
    start, end = evidence.window
    finite = isfinite(start) and isfinite(end) and start <= end
    if not finite or (evidence.llr is not None and not isfinite(evidence.llr)):
        reasons = (*evidence.reasons, Reason.NOT_A_NUMBER.value)
        window = (start, end) if finite else (now, now)
        evidence = replace(evidence, llr=None, window=window, reasons=reasons)
    if evidence.llr is None:
        if memory.silent is None or evidence.window[1] >= memory.silent.window[1]:
            memory.silent = evidence
        return
    # A window cannot reach past the frame it was made from: else its evidence would never age.
    end = min(end, now)
    start = min(start, end)
    evidence = replace(evidence, window=(start, end))
    if memory.valued is None or _rank(evidence) >= _rank(memory.valued):
        memory.valued = evidence
    llr = min(max(evidence.llr or 0.0, limits.min_llr), limits.max_llr)
    insort(memory.looks, Look(end, start, llr))
    del memory.looks[:-MOST_WINDOWS]
    memory.ratio = accumulate(memory.looks, limits)


def forget_life(memory: CueMemory, before: float, limits: CuePolicy, reason: Reason) -> None:
    """Drop every look that spoke for LIVE and began before a capture time in seconds."""
    looks = [look for look in memory.looks if look.llr <= 0 or look.start >= before - TICK]
    if len(looks) == len(memory.looks) or memory.valued is None:
        return
    memory.looks = looks
    if looks:
        newest = looks[-1]
        memory.valued = replace(memory.valued, window=(newest.start, newest.end), llr=newest.llr)
        memory.ratio = accumulate(looks, limits)
    else:
        memory.silent = replace(memory.valued, llr=None, reasons=(reason.value,))
        memory.valued, memory.ratio = None, 0.0


def fallen_since(
    looks: Sequence[Look], drop: float, span: float, hidden: float = -inf
) -> float | None:
    """Since when a cue has stood lower than it mostly did before; None: it has not.

    Looks err apart, so a fall that lasts k spans counts from ``drop`` / sqrt(k) on; but then none
    of its looks may say more for LIVE than :data:`LITTLE`, since light and distance make smaller
    falls that stay. A fall that begins where the face was hidden counts at once as one that lasts
    the most spans: what passed before it may have stayed.

    Args:
        looks: Newest last.
        drop: Nats by which all looks of a span must be lower.
        span: Seconds; at least two looks must lie within.
        hidden: Capture time at which the face was last not seen.
    """
    since = _fallen(looks, drop / sqrt(_MOST_SPANS), span, LITTLE)
    if since is not None and hidden > since - span:
        return since
    for spans in range(1, _MOST_SPANS + 1):
        most = inf if spans == 1 else LITTLE
        since = _fallen(looks, drop / sqrt(spans), spans * span, most)
        if since is not None:
            return since
    return None


def _fallen(looks: Sequence[Look], drop: float, span: float, most: float) -> float | None:
    """Since when all looks of so many seconds are lower by ``drop``, and none is over ``most``."""
    first = next(
        (i for i, look in enumerate(looks) if look.end > looks[-1].end - span + TICK), len(looks)
    )
    before, after = looks[:first], looks[first:]
    if len(before) < 2 or len(after) < 2 or after[-1].end - after[0].end < span / 2:
        return None
    usual = median(look.llr for look in before)  # the looks of a change itself are among these
    highest = max(look.llr for look in after)
    return after[0].start if highest <= min(usual - drop, most) else None


def _rank(evidence: Evidence) -> tuple[float, float]:
    """Newer is greater; of two values for one window the one that speaks less for LIVE."""
    return evidence.window[1], -(evidence.llr or 0.0)


def accumulate(looks: Sequence[Look], limits: CuePolicy) -> float:
    """What several windows of one cue say together, in nats within the cue's limits.

    The weighted mean of the ratios times the number of independent windows they are worth,
    n_eff = (sum w_i)^2 / sum_ij w_i w_j r_ij (Kish's effective sample size for correlated
    observations), where w falls with age by ``memory`` and r_ij is the greater of the windows'
    overlap and ``shared + (1 - shared) rho^d``, d being the seconds between their middles. One
    window, or many that overlap in full, count once; windows without anything in common add up.
    """
    end, start, llr = np.array([(look.end, look.start, look.llr) for look in looks]).T
    weight = np.exp((end - end[-1]) / limits.memory)
    total = float(weight.sum())
    mean = float(weight @ llr) / total
    alike = correlation(start, end, limits.rho, limits.shared)
    effective = total * total / float(weight @ alike @ weight)
    effective = min(max(effective, 1.0), limits.max_windows)
    return min(max(limits.weight * effective * mean, limits.min_llr), limits.max_llr)


def correlation(start: np.ndarray, end: np.ndarray, rho: float, shared: float = 0.0) -> np.ndarray:
    """How much each two of n windows have in common, 0 to 1: float64 (n, n) from (n,) and (n,)."""
    middle, length = (start + end) / 2, end - start
    apart = np.abs(middle[:, None] - middle)
    longer = np.maximum(length[:, None], length)
    common = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    # Two windows without length have all or nothing in common.
    overlap = np.where(longer > 0, common / np.maximum(longer, TICK), apart == 0)
    alike = shared + (1.0 - shared) * rho**apart
    return np.asarray(np.clip(np.maximum(overlap, alike), 0.0, 1.0))


def in_force(cue: str, memory: CueMemory, now: float, limits: CuePolicy) -> Evidence:
    """What a cue contributes now, with the reasons why nothing newer or nothing at all does.

    What spoke for LIVE is void at ``max_age``. What spoke for an attack only fades from there:
    a camera that is blinded must not clear the face before it.
    """
    valued, silent = memory.valued, memory.silent
    if valued is None:
        if silent is None:
            raise AssertionError("a cue is remembered only after evidence came")
        return silent if silent.reasons else replace(silent, reasons=(Reason.NO_EVIDENCE.value,))
    newer = silent.reasons if silent and silent.window[1] > valued.window[1] else ()
    over = now - valued.window[1] - limits.max_age
    if over <= 0:
        return replace(valued, llr=memory.ratio, reasons=newer)
    stale = (Reason.EVIDENCE_STALE.value, *newer)
    faded = memory.ratio * exp(-over / limits.memory) if memory.ratio < 0 else 0.0
    return replace(valued, llr=faded if faded < -0.01 else None, reasons=stale)


def add_up(ratios: Mapping[str, float], policy: Policy) -> float:
    """Sum over cues in nats.

    Of correlated cues that agree in sign only the strongest counts in full; those for LIVE of a
    joint limit count to that limit at most. Grows with every ratio; leaving out a cue that spoke
    for LIVE never raises it.
    """
    total = sum(ratios.values())
    for group in policy.correlated:
        here = [ratios[cue] for cue in group.cues if cue in ratios]
        for side in ([r for r in here if r > 0], [r for r in here if r < 0]):
            if side:
                strongest = max(side, key=abs)
                total -= group.rho * (sum(side) - strongest)
    for limit in policy.joint_limits:
        for_live = sum(max(ratios.get(cue, 0.0), 0.0) for cue in limit.cues)
        total -= max(for_live - limit.max_llr, 0.0)
    return total
