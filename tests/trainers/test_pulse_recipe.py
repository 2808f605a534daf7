from pathlib import Path

import pytest

from padflow.trainers.pulse_recipe import (
    load_pulse_recipe,
    parse_pulse_recipe,
    pulse_recipe_text,
)
from padflow.trainers.recipe import RecipeError

LEAST = {"name": "mine", "task": "Tells.", "network": {"name": "pulse"}}


def test_the_shipped_recipe_reads_back(tmp_path: Path) -> None:
    recipe = load_pulse_recipe("pulse_net", epochs=3)
    (tmp_path / "r.yaml").write_text(pulse_recipe_text(recipe))
    again = load_pulse_recipe(str(tmp_path / "r.yaml"))
    assert again == recipe


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 3}, "epoch: unknown key; did you mean 'epochs'"),
        ({"losses": {"wav": 1}}, "losses.wav: unknown key; did you mean 'wave'"),
        ({"network": {"name": "patch"}}, "network.name: input should be 'pulse'.*found 'patch'"),
        ({"film_seconds": 2.0}, "film_seconds: .*greater than or equal to 7.*found 2"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_pulse_recipe(LEAST | change)
