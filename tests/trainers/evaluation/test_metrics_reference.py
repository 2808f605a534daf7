"""Error rates against scikit-learn, which is imported first: it changes the environment."""

import numpy as np
import pytest

from padflow.trainers.evaluation.metrics import Scores, area_under_curve, curve, rates_at

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with padflow[train]")


@pytest.mark.parametrize("ties", [False, True])
def test_scikit_learn_agrees(ties: bool) -> None:
    rng = np.random.default_rng(int(ties))
    live, attack = rng.normal(1, 1, 300), rng.normal(0, 1.3, 500)
    if ties:
        live, attack = live.round(), attack.round()
    some = Scores(
        np.concatenate([live, attack]),
        np.arange(800) < 300,
        ("print",) * 800,
        tuple(map(str, range(800))),
    )
    found = curve(some)
    truth, values = some.live.astype(int), some.score
    assert area_under_curve(found) == pytest.approx(metrics.roc_auc_score(truth, values))
    fpr, fnr, thresholds = metrics.det_curve(truth, values)
    for one_fpr, one_fnr, threshold in zip(fpr, fnr, thresholds, strict=True):
        rates = rates_at(some, threshold)
        assert rates.pooled == pytest.approx(one_fpr)
        assert rates.bpcer == pytest.approx(one_fnr)
