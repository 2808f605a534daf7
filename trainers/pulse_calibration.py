"""Fits the constants of the pulse cue on synthetic traces and prints how it does on others.

    python -m padflow.trainers.pulse_calibration [--traces 6000] [--seed 1]

Two logistic regressions: ln(p1 / p0) between windows in which a living face's pulse was found
(heart rate within 6 bpm of the true one) and windows without a pulse; and the chance that a
pulse is found, by noise. The shares ``attacks_with_pulse`` and ``living_without_pulse`` are not
fitted: no trace can tell them. See :mod:`padflow.nodes.pulse_evidence`.
"""

import argparse
from dataclasses import dataclass, fields, replace

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import minimize

from ..nodes.pulse_evidence import PulseMeasurement, PulseModel, burstiness, measure_pulse
from ..nodes.spectrum import HALF_WIDTH_BPM
from .pulse_population import RATE, draw_trace

KINDS = ("live", "still", "live", "display")
"""Half of the traces have a pulse."""
LENGTHS = (6.0, 8.0, 10.0)
"""Seconds: the windows that the node looks at."""
WEIGHTS = {
    "per_snr_db": "snr_db",
    "per_region_agreement": "region_agreement",
    "per_region_correlation": "region_correlation",
    "per_region_rate_share": "region_rate_share",
    "per_method_agreement": "method_agreement",
}
"""Field of the model by what it weighs."""
SHRINKAGE = 1e-3
SMOOTH = 3.0
"""Burstiness below which no encoder stands between noise and pulse."""


@dataclass(frozen=True, slots=True)
class Window:
    """One measured trace."""

    kind: str
    true_bpm: float | None
    found: PulseMeasurement
    bursts: float
    """As of :func:`burstiness`."""

    @property
    def hit(self) -> bool:
        """There is a pulse, and the line found is it."""
        if self.true_bpm is None:
            return False
        return abs(self.true_bpm - self.found.heart_rate_bpm) <= HALF_WIDTH_BPM


def draw_windows(count: int, seed: int, quiet: bool = True) -> list[Window]:
    """Draw and measure traces of all kinds and lengths."""
    rng = np.random.default_rng(seed)
    windows = []
    for index in track(range(count), "measuring", disable=quiet):
        trace = draw_trace(rng, KINDS[index % len(KINDS)], float(rng.choice(LENGTHS)))
        found = measure_pulse(trace.regions, trace.background, RATE)
        bursts = burstiness(trace.regions)
        windows.append(Window(trace.kind, trace.heart_rate_bpm, found, bursts))
    return windows


def fit(windows: list[Window], model: PulseModel | None = None) -> PulseModel:
    """The model with weights and noise constants fitted on the windows whose light is steady."""
    start = model or PulseModel()
    steady = [w for w in windows if not start.light_flickers(w.found)]
    clear = [w for w in steady if w.hit or w.true_bpm is None]
    features = np.array([[getattr(w.found, name) for name in WEIGHTS.values()] for w in clear])
    intercept, weights = fit_logistic(features, np.array([w.hit for w in clear]), balanced=True)
    living = [w for w in steady if w.true_bpm is not None and w.bursts < SMOOTH]
    decades = np.log10([[w.found.noise] for w in living])
    level, slope = fit_logistic(decades, np.array([w.hit for w in living]), balanced=False)
    return replace(
        start,
        intercept=intercept,
        **dict(zip(WEIGHTS, weights.tolist(), strict=True)),
        noise_half=float(10 ** (-level / slope[0])),
        noise_steepness=float(-slope[0]),
    )


def fit_logistic(
    features: np.ndarray, positive: np.ndarray, balanced: bool, least: float | None = None
) -> tuple[float, np.ndarray]:
    """Intercept and weights (k,) of a logistic regression with a little shrinkage.

    Args:
        features: float (n, k).
        positive: bool (n,); both must occur.
        balanced: give both classes the same total weight.
        least: what each weight is at least; None: anything.
    """
    centre, spread = features.mean(axis=0), features.std(axis=0)
    columns = np.column_stack([np.ones(len(features)), (features - centre) / spread])
    sign = np.where(positive, 1.0, -1.0)
    share = positive.mean()
    parts = np.where(positive, 0.5 / share, 0.5 / (1 - share)) if balanced else np.ones(len(sign))

    def loss(weights: np.ndarray) -> float:
        margins = sign * (columns @ weights)
        penalty = SHRINKAGE * np.square(weights[1:]).sum()
        return float((parts * np.logaddexp(0.0, -margins)).mean() + penalty)

    bounds = None if least is None else [(None, None), *[(least, None)] * features.shape[1]]
    scaled = minimize(loss, np.zeros(columns.shape[1]), bounds=bounds).x
    weights = scaled[1:] / spread
    return float(scaled[0] - weights @ centre), weights


def ratio_of(model: PulseModel, window: Window) -> float | None:
    """The ratio that the node would give, None where the light flickers."""
    if model.light_flickers(window.found):
        return None
    visibility = model.visibility(window.found.noise, window.bursts)
    return model.ratio(model.pulse_logit(window.found), visibility)


def report(windows: list[Window], model: PulseModel, console: Console) -> None:
    """Print heart-rate errors by SNR and ratios by kind."""
    errors = Table("own SNR, dB", "live windows", "MAE, bpm", "within 6 bpm")
    living = [w for w in windows if w.true_bpm is not None]
    for low, high in ((-20, -4), (-4, -2), (-2, 0), (0, 2), (2, 4), (4, 8), (8, 20)):
        chosen = [w for w in living if low <= w.found.snr_db < high]
        if chosen:
            misses = [abs((w.true_bpm or 0) - w.found.heart_rate_bpm) for w in chosen]
            hits = np.mean([w.hit for w in chosen])
            errors.add_row(
                f"{low} to {high}", str(len(chosen)), f"{np.mean(misses):.1f}", f"{hits:.0%}"
            )
    console.print(errors)
    ratios = Table(
        "kind", "windows", "no value", "llr 5 %", "25 %", "50 %", "75 %", "95 %", "> 0.3"
    )
    for kind in dict.fromkeys(KINDS):
        of_kind = [ratio_of(model, w) for w in windows if w.kind == kind]
        valued = np.array([r for r in of_kind if r is not None])
        quantiles = [f"{q:+.2f}" for q in np.quantile(valued, (0.05, 0.25, 0.5, 0.75, 0.95))]
        silent = f"{1 - len(valued) / len(of_kind):.1%}"
        ratios.add_row(kind, str(len(of_kind)), silent, *quantiles, f"{(valued > 0.3).mean():.1%}")
    console.print(ratios)


def main() -> None:
    """Command line: fit, print the constants, report on traces that were not fitted on."""
    parser = argparse.ArgumentParser(description="Fit the pulse cue on synthetic traces.")
    parser.add_argument("--traces", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console()
    model = fit(draw_windows(options.traces, options.seed, quiet=False))
    for field in fields(PulseModel):
        console.print(f"{field.name}: {getattr(model, field.name):.4g}")
    console.print("On traces drawn anew, the model just fitted:")
    report(draw_windows(options.traces // 2, options.seed + 1, quiet=False), model, console)


if __name__ == "__main__":
    main()
