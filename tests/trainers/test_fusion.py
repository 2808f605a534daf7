"""What is learned from made-up recordings is what was put into them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.trainers.fusion import FusionRecipe, correlations, fitted, learn, watched
from padflow.trainers.fusion_bundle import load_fusion_recipe
from padflow.trainers.recipe import RecipeError, TrainingError, recipe_names

from .recordings import Cue, World, recordings

RECIPE = FusionRecipe(task="a test", cues=("context",))


def test_errors_that_pass_are_not_shared() -> None:
    seen = watched(recordings(World({"context": Cue(lasting=0.0, passing=1.0)})))
    _, shared = fitted(*correlations(seen, "context"))
    assert shared < 0.1


def test_errors_that_last_are_shared() -> None:
    seen = watched(recordings(World({"context": Cue(lasting=1.0, passing=0.3)}, clips=8)))
    _, shared = fitted(*correlations(seen, "context"))
    assert shared == pytest.approx(1.0 / 1.09, abs=0.12)


def test_long_recordings_that_are_told_better_do_not_hide_what_lasts() -> None:
    """Only they have distant looks; their errors are smaller, not less alike."""
    short = World({"context": Cue(lasting=1.0, passing=0.3)}, clips=8, seconds=1.6)
    long = World({"context": Cue(lasting=0.5, passing=0.15)}, clips=2, seconds=8.0, seed=1)
    found, lags, _ = correlations(watched([*recordings(short), *recordings(long)]), "context")
    assert found[lags > 1.6] == pytest.approx(1.0 / 1.09, abs=0.15)


def test_an_error_that_fades_is_told_from_one_that_lasts() -> None:
    lags = np.array([0.2, 0.4, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0])
    found = 0.5 + 0.5 * 0.1**lags
    rho, shared = fitted(found, lags, 100)
    assert shared == pytest.approx(0.5, abs=0.01)
    assert rho == pytest.approx(0.1, abs=0.03)


def test_a_cue_seen_too_seldom_is_taken_to_repeat_itself() -> None:
    assert fitted(np.full(8, np.nan), np.full(8, np.nan), 0) == (1.0, 1.0)


def test_a_cue_that_says_nothing_weighs_less_than_one_that_does() -> None:
    world = World({"context": Cue(mean=1.5), "patch": Cue(mean=0.0, passing=2.0)}, people=6)
    cues = learn(watched(recordings(world)), replace(RECIPE, cues=("context", "patch"))).fusion.cues
    assert cues["patch"].weight < 0.3 * cues["context"].weight


def test_a_cue_that_overstates_is_weighed_down() -> None:
    honest = World({"context": Cue(mean=1.0, lasting=1.4, passing=0.0)}, people=20, clips=2)
    boasting = World({"context": Cue(mean=3.0, lasting=4.2, passing=0.0)}, people=20, clips=2)
    weights = [
        learn(watched(recordings(world)), RECIPE).fusion.cues["context"].weight
        for world in (honest, boasting)
    ]
    assert weights[1] < 0.6 * weights[0]


def test_a_cue_that_is_upside_down_gets_no_weight() -> None:
    world = World({"context": Cue(mean=-2.0)}, people=20)
    assert learn(watched(recordings(world)), RECIPE).fusion.cues["context"].weight < 0.05


def test_the_limits_grow_with_the_data() -> None:
    small, large = (
        learn(watched(recordings(World({"context": Cue(mean=0.5)}, people=n, seed=3))), RECIPE)
        for n in (2, 12)
    )
    assert large.attacks > 3 * small.attacks
    assert large.live > 3 * small.live
    assert large.fusion.max_llr >= np.log1p(large.attacks) - 1e-4


def test_the_same_recordings_give_the_same_fusion() -> None:
    one, two = (learn(watched(recordings(World())), RECIPE).fusion for _ in range(2))
    assert one == two


def test_one_class_is_not_enough() -> None:
    live = [one for one in watched(recordings(World())) if one.presentation.live]
    with pytest.raises(TrainingError, match="expected live and attack recordings"):
        learn(live, RECIPE)


def test_the_shipped_recipes_are_some() -> None:
    assert recipe_names("fusion") == ["fusion", "fusion_every_cue"]
    for name in recipe_names("fusion"):
        assert load_fusion_recipe(name).cues[0] == "depth"


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("kind: fusion\ntask: a\ncues: [depth]\nprior_wait: 1\n")
    with pytest.raises(RecipeError, match="prior_wait"):
        load_fusion_recipe(path)
