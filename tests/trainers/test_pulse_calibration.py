import numpy as np
import pytest

from padflow.trainers.pulse_calibration import fit_logistic


def test_weights_are_found_and_kept_from_falling_below_what_is_told() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 2))
    chance = 1 / (1 + np.exp(-(1 + 2 * features[:, 0] - 0.5 * features[:, 1])))
    positive = rng.uniform(size=4000) < chance
    intercept, weights = fit_logistic(features, positive, balanced=False)
    assert intercept == pytest.approx(1.0, abs=0.2)
    assert weights == pytest.approx([2.0, -0.5], abs=0.25)
    _, kept = fit_logistic(features, positive, balanced=False, least=0.0)
    assert kept[1] == 0.0
    assert kept[0] > 1.5
