"""Bundles for studies: tiny networks, whose manifests say what a training held out."""

from pathlib import Path

from padflow.engines.bundle import About, Bundle, Calibration, Manifest, Training, write_bundle
from padflow.trainers.export import input_specs
from padflow.trainers.networks import build_network
from padflow.trainers.recipe import HoldOut, NetworkChoice, Recipe, recipe_text
from tests.nodes.tiny_nets import write_network


def write_tiny(folder: Path, name: str, hold_out: HoldOut, *, slope: float = 3.0) -> Bundle:
    """A bundle that takes the pictures of the network ``name`` and judges them by their colour."""
    choice = NetworkChoice(name=name)  # type: ignore[arg-type]
    recipe = Recipe(name=name, task="Tells nothing.", network=choice, hold_out=hold_out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.onnx"
    network = build_network(name)
    manifest = Manifest(
        about=About(name=name, version="0.1.0", task=recipe.task, licence="Apache-2.0"),
        inputs=input_specs(network),
        outputs=write_network(file, "patch", network.side),
        training=Training(
            data=("nothing",),
            recipe=recipe_text(recipe),
            seed=0,
            settings={"held_out_persons": "p0, p1", "held_out_media": ", ".join(hold_out.media)},
        ),
        metrics=(),
        calibration=Calibration(
            method="logistic",
            parameters={"slope": slope, "offset": 0.5, "min_llr": -4.0, "max_llr": 4.0},
            fitted_on="nothing",
        ),
        files={},
    )
    return write_bundle(folder, manifest, {"f32": file})
