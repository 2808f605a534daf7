"""Bundles of networks as they are before training: their scores mean nothing, but are scores."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from padflow.engines.bundle import About, Bundle, Calibration, Manifest, Training, write_bundle
from padflow.trainers.export import input_specs, output_specs, to_onnx
from padflow.trainers.networks import CropNetwork, NetworkOptions, build_network
from padflow.trainers.recipe import HoldOut, NetworkChoice, Recipe, recipe_text


def write_untrained(
    folder: Path, name: str, hold_out: HoldOut, *, seed: int = 0, slope: float = 3.0
) -> Bundle:
    """A bundle whose recipe says what was held out."""
    network, exported = _untrained(name, seed)
    choice = NetworkChoice(name=name, embedding=8)  # type: ignore[arg-type]
    recipe = Recipe(name=name, task="Tells nothing yet.", network=choice, hold_out=hold_out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.onnx"
    file.write_bytes(exported)
    manifest = Manifest(
        about=About(name=name, version="0.1.0", task=recipe.task, licence="Apache-2.0"),
        inputs=input_specs(network),
        outputs=output_specs(network),
        training=Training(
            data=("nothing",),
            recipe=recipe_text(recipe),
            seed=seed,
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


@cache
def _untrained(name: str, seed: int) -> tuple[CropNetwork, bytes]:
    """A network and its file; an export takes seconds, and studies share what is the same."""
    torch.manual_seed(seed)
    network = build_network(name, NetworkOptions(embedding=8)).eval()
    with TemporaryDirectory() as place:
        return network, to_onnx(network, Path(place) / f"{name}.onnx").path.read_bytes()
