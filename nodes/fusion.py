"""How much each cue is worth beside the others: learned, and kept in a bundle.

It holds as well at which sums the error rates that a policy asks for were kept.

A logistic fusion with one weight a cue and no offset: what all cues say together is the sum of
weight times what each adds up to, within limits. A cue that is missing adds nothing, so every
subset works. How its windows repeat each other is measured and kept here too. ``trainers.fusion``
learns it (docs/TRAINING.md, "Fusion").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..engines.bundle import Bundle, bundle_folders, read_bundle
from ..engines.errors import BundleError, ModelMissing
from .policy import Policy, TargetRates, error_rate_thresholds, outer

METHOD = "fusion"
"""Name of the calibration method in the bundle's manifest."""
OWN = "fusion"
"""Name of the bundle that padflow ships."""
NONE = "none"
MOST_WEIGHT = 1.5
"""A cue's own calibration, on single pictures, may understate what it adds up to over a recording,
but is not believed to do so by more."""
_PER_CUE = ("weight", "rho", "shared")
_PER_RATE = ("live_at", "spoof_at")


@dataclass(frozen=True, slots=True)
class CueWorth:
    """What was measured of one cue."""

    weight: float
    """Factor on what the cue adds up to, 0 to :data:`MOST_WEIGHT`: below 1 where it repeats others
    or overstates, above 1 where it understates."""
    rho: float
    """Correlation of two looks one second apart, beyond ``shared``; 0 to 1."""
    shared: float
    """Correlation of two looks however far apart; 0 to 1."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """What the cues are worth together."""

    cues: Mapping[str, CueWorth]
    min_llr: float
    """Lowest sum in nats that its data can answer for."""
    max_llr: float
    """Highest sum in nats."""
    name: str = ""
    sha256: str = ""
    live_at: Mapping[float, float] = field(default_factory=dict)
    """Lowest sum in nats, by APCER: at most so many attacks reached it."""
    spoof_at: Mapping[float, float] = field(default_factory=dict)
    """Highest sum in nats, by BPCER: at most so many of the living fell to it."""

    @property
    def parameters(self) -> dict[str, float]:
        """For a manifest: ``weight.depth``, …, ``min_llr``, ``max_llr``, ``live_at.0.05``, …."""
        named = {
            f"{name}.{cue}": getattr(worth, name)
            for cue, worth in self.cues.items()
            for name in _PER_CUE
        }
        rates = {
            f"{name}.{rate:g}": at for name in _PER_RATE for rate, at in getattr(self, name).items()
        }
        return {**named, "min_llr": self.min_llr, "max_llr": self.max_llr, **rates}

    def applied(self, policy: Policy) -> Policy:
        """The policy with what was measured in place of its own assumptions.

        A cue's weight multiplies the policy's, its correlations replace the policy's. Cues that
        were learned together are in no ``correlated`` set any more: their weights account for it.
        """
        limits = {
            cue: replace(
                policy.cue(cue),
                weight=policy.cue(cue).weight * worth.weight,
                rho=worth.rho,
                shared=worth.shared,
            )
            for cue, worth in self.cues.items()
        }
        groups = tuple(
            replace(group, cues=tuple(cue for cue in group.cues if cue not in self.cues))
            for group in policy.correlated
        )
        return replace(policy, cues={**policy.cues, **limits}, correlated=groups)

    def thresholds(self, policy: Policy) -> tuple[float, float]:
        """Sums in nats: SPOOF at or below the first, LIVE at or above the second.

        Those measured for the policy's target rates, or for the next lower ones that were; where
        there are none, or the policy wants none, the policy's own. Costs bind either.
        """
        return policy.no_laxer_than_costs(*self._thresholds_for(policy.targets))

    def early_thresholds(self, policy: Policy) -> tuple[float, float] | None:
        """Likewise before the policy's ``min_time``, for its early rates; None: no verdict then."""
        targets = policy.early_targets
        if targets is None:
            return None
        return outer(self._thresholds_for(targets), self.thresholds(policy))

    def _thresholds_for(self, targets: TargetRates) -> tuple[float, float]:
        spoof, live = error_rate_thresholds(targets)
        if targets.measured:
            spoof = _measured(self.spoof_at, targets.bpcer, spoof)
            live = _measured(self.live_at, targets.apcer, live)
        return spoof, live

    def out_of_reach(self, policy: Policy) -> list[str]:
        """A sentence for each verdict that no sum can call for, so much does the policy ask."""
        spoof, live = self.thresholds(policy)
        hopeless = {
            "LIVE": (live > self.max_llr, live, self.max_llr, "apcer"),
            "SPOOF": (spoof < self.min_llr, spoof, self.min_llr, "bpcer"),
        }
        return [
            f"no face will be {state}: policy {policy.name} asks for a sum of {asked:+.2f} nats, "
            f"and what the fusion '{self.name}' was learned on answers for {most:+.2f}; raise "
            f"targets.{rate}, check costs and prior_live, or learn a fusion from more recordings"
            for state, (is_so, asked, most, rate) in hopeless.items()
            if is_so
        ]

    def within(self, llr: float) -> float:
        """A sum in nats, no more certain than the data."""
        return min(max(llr, self.min_llr), self.max_llr)


def _measured(table: Mapping[float, float], target: float, otherwise: float) -> float:
    kept = [rate for rate in table if rate <= target]
    return table[max(kept)] if kept else otherwise


def load_fusion(name_or_folder: str) -> Fusion | None:
    """A learned fusion by its bundle's name or folder; empty: padflow's own; ``none``: none.

    Raises:
        ModelMissing: there is no such bundle.
        BundleError: the bundle is damaged or holds no fusion.
    """
    if name_or_folder == NONE:
        return None
    folders = bundle_folders()
    name = name_or_folder or OWN
    if name in folders:
        return fusion_of(read_bundle(folders[name]))
    if not name_or_folder:
        return None
    if Path(name).is_dir():
        return fusion_of(read_bundle(Path(name)))
    raise ModelMissing(
        f"fusion {name}: expected a bundle's name or folder, or '{NONE}', found neither; "
        f"known bundles: {', '.join(sorted(folders))}"
    )


def fusion_of(bundle: Bundle) -> Fusion:
    """The fusion that a bundle holds.

    Raises:
        BundleError: it holds none, or values that make no sense.
    """
    where = f"bundle {bundle.folder}"
    calibration = bundle.manifest.calibration
    if calibration is None or calibration.method != METHOD:
        found = "none" if calibration is None else repr(calibration.method)
        raise BundleError(
            f"{where}: expected a calibration '{METHOD}', found {found}; give the folder of a "
            "bundle that padflow train fusion wrote"
        )
    values = dict(calibration.parameters)
    try:
        live_at, spoof_at = (_by_rate(values, name) for name in _PER_RATE)
        low, high = values.pop("min_llr"), values.pop("max_llr")
        names = sorted({key.partition(".")[2] for key in values})
        cues = {cue: CueWorth(*(values.pop(f"{name}.{cue}") for name in _PER_CUE)) for cue in names}
    except KeyError as error:
        raise BundleError(f"{where}: the parameter {error} is missing; train it anew") from error
    except ValueError as error:
        raise BundleError(f"{where}: expected a rate, found: {error}; train it anew") from error
    if min(live_at.values(), default=1.0) <= 0 or max(spoof_at.values(), default=-1.0) >= 0:
        raise BundleError(
            f"{where}: expected every live_at above 0 and spoof_at below 0, found {live_at} and "
            f"{spoof_at}; train it anew"
        )
    if values or not low <= 0 <= high or not all(map(_makes_sense, cues.values())):
        raise BundleError(
            f"{where}: expected rho and shared of every cue between 0 and 1, weight up to "
            f"{MOST_WEIGHT:g} and min_llr <= 0 <= max_llr, found {dict(calibration.parameters)}; "
            "train it anew"
        )
    (digest,) = (file.sha256 for role, file in bundle.manifest.files.items() if role == "f32")
    return Fusion(cues, low, high, bundle.manifest.about.name, digest, live_at, spoof_at)


def _by_rate(values: dict[str, float], name: str) -> dict[float, float]:
    """Takes the parameters of one kind out of the manifest's, by rate."""
    keys = [key for key in values if key.startswith(f"{name}.")]
    return {float(key.partition(".")[2]): values.pop(key) for key in keys}


def _makes_sense(worth: CueWorth) -> bool:
    return 0 <= worth.weight <= MOST_WEIGHT and 0 <= worth.rho <= 1 and 0 <= worth.shared <= 1
