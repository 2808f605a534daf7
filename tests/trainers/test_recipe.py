from pathlib import Path

import pytest

from padflow.trainers.networks import NETWORKS
from padflow.trainers.recipe import (
    RecipeError,
    load_recipe,
    parse_recipe,
    recipe_names,
    recipe_text,
)

OF_CROPS = recipe_names()
LEAST = {"name": "mine", "task": "Tells.", "network": {"name": "context"}}


@pytest.mark.parametrize("name", OF_CROPS)
def test_shipped_recipes_keep_to_the_schema(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.network.name in NETWORKS


def test_every_network_has_a_recipe() -> None:
    assert {load_recipe(name).network.name for name in OF_CROPS} == set(NETWORKS)


def test_text_holds_all_and_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe("depth_light", epochs=3, leave_out_species=["mask"])
    (tmp_path / "r.yaml").write_text(recipe_text(recipe))
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert recipe.epochs == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 3}, "epoch: unknown key; did you mean 'epochs'"),
        ({"losses": {"contrast": 1}}, "losses.contrast: unknown key; did you mean 'contrastive'"),
        ({"batch": 0}, "batch: .*greater than or equal to 2.*found 0"),
        ({"learning_rate": float("nan")}, "learning_rate: .*finite"),
        ({"network": {"name": "vit"}}, "network.name: .*'depth'.*found 'vit'"),
        ({"hold_out": {"share": 0.9}}, "hold_out.share"),
        ({"name": "größe"}, "name: .*pattern.*found 'größe'"),
        ({"name": "a/b"}, "name: .*pattern.*found 'a/b'"),
    ],
)
def test_faults_are_named(change: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_recipe(LEAST | change)


def test_missing_and_broken_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="one of context, depth"):
        load_recipe("gone")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="is no YAML"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(RecipeError, match="nested deeper than can be read"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1")
    with pytest.raises(RecipeError, match="expected a mapping, found list"):
        load_recipe(tmp_path / "a.yaml")
