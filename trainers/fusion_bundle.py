"""A learned fusion as a bundle: its numbers in the manifest, and the same as an ONNX file."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from pydantic import TypeAdapter

from ..engines.bundle import About, Bundle, Calibration, Manifest, Metric, Training, write_bundle
from ..engines.network import TensorSpec
from ..nodes.fusion import METHOD, Fusion
from .evaluation.metrics import Bools, Scores, curve, equal_error
from .fusion import FusionRecipe, Learned, Watched, learn
from .operating_points import extremes_of, with_thresholds, without_each
from .recipe import parsed, recipe_content
from .replaying import Rules, replayed

VERSION = "0.1.0"
LICENCE = "Apache-2.0"
OPSET = 18
KIND = "fusion"


def load_fusion_recipe(name_or_file: str | Path, **changes: Any) -> FusionRecipe:
    """Read a fusion's recipe by its shipped name or from a YAML file.

    Args:
        name_or_file: such as ``fusion`` or ``my/recipe.yaml``.
        changes: keys that replace the file's.

    Raises:
        RecipeError: there is none, or it does not keep to the schema.
    """
    content = recipe_content(name_or_file) | changes
    return parsed(TypeAdapter(FusionRecipe), content, str(name_or_file), FusionRecipe, {})


def fusion_network(fusion: Fusion) -> onnx.ModelProto:
    """``ratios`` float32 (N, C) in the cues' order, NaN: missing, to ``llr`` float32 (N,), nats."""
    weights = np.array([[worth.weight] for worth in fusion.cues.values()], np.float32)
    constants = {
        "weights": weights,
        "zero": np.float32(0.0),
        "low": np.float32(fusion.min_llr),
        "high": np.float32(fusion.max_llr),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", ["ratios"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "ratios"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["sum"]),
        helper.make_node("Clip", ["sum", "low", "high"], ["within"]),
        helper.make_node("Squeeze", ["within", "last"], ["llr"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fusion",
        [helper.make_tensor_value_info("ratios", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info("llr", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def make_fusion_bundle(
    seen: Sequence[Watched],
    recipe: FusionRecipe,
    data: Sequence[str],
    out: Path | str,
) -> tuple[Bundle, Learned]:
    """Learn a fusion, judge it on people that it was learned without, and write it.

    How far sums of these people went gives the thresholds too (:mod:`.operating_points`).

    Args:
        seen: what the cues saw of every recording.
        recipe: how it is learned.
        data: names of the recordings' folders, for the manifest.
        out: the bundle's folder.

    Raises:
        TrainingError: there are no live or no attack recordings.
    """
    learned = learn(seen, recipe)
    others = without_each(seen, recipe)
    extremes = extremes_of(seen, others, recipe)
    fusion = with_thresholds(learned.fusion, extremes)
    learned = replace(learned, fusion=fusion)
    measured = {
        person: with_thresholds(other, extremes.without(person)) for person, other in others.items()
    }
    names = ", ".join(fusion.cues)
    inputs = TensorSpec(
        "ratios", "float32", (-1, len(fusion.cues)), "NC", "nats",
        f"what {names} add up to; NaN where one is missing",
    )  # fmt: skip
    output = TensorSpec("llr", "float32", (-1,), "N", "nats", "positive is live")
    rests_on = (
        f"{learned.presentations} recordings worth {learned.live:.1f} independent live and "
        f"{learned.attacks:.1f} attack presentations, of {_people(seen)} people"
    )
    manifest = Manifest(
        about=About(
            name=recipe.name.replace(" ", "_").lower(),
            version=VERSION,
            task=recipe.task,
            licence=LICENCE,
        ),
        inputs=(inputs,),
        outputs=(output,),
        training=Training(
            data=tuple(data),
            recipe=yaml.safe_dump({"kind": KIND} | _plain(recipe), sort_keys=False),
            seed=recipe.seed,
            settings={"live": round(learned.live, 2), "attacks": round(learned.attacks, 2)},
        ),
        metrics=tuple(_metrics(seen, measured, recipe)),
        calibration=Calibration(method=METHOD, parameters=fusion.parameters, fitted_on=rests_on),
        files={},
    )
    with tempfile.TemporaryDirectory(prefix="padflow-fusion-") as place:
        path = Path(place) / f"{recipe.name}.onnx"
        onnx.save(fusion_network(fusion), path)
        return write_bundle(out, manifest, {"f32": path}), learned


def _plain(recipe: FusionRecipe) -> dict[str, Any]:
    return dict(TypeAdapter(FusionRecipe).dump_python(recipe, mode="json"))


def _metrics(
    seen: Sequence[Watched], fusions: Mapping[str, Fusion], recipe: FusionRecipe
) -> list[Metric]:
    """Of every person by fusion and thresholds that were learned without that person."""
    score, live, species, person, states = [], [], [], [], []
    for one in seen:
        told_of = one.presentation
        if told_of.person not in fusions:
            continue
        moments = replayed(one.packets, Rules(recipe.cues, fusions[told_of.person]))
        if not moments or moments[-1].llr is None:
            continue
        score.append(moments[-1].llr)
        live.append(told_of.live)
        species.append(told_of.species)
        person.append(told_of.person)
        states.append(moments[-1].state.value)
    if len(set(live)) < 2:
        return []
    told = Scores(np.array(score, np.float64), np.array(live, bool), tuple(species), tuple(person))
    method = "fuse and decide over recorded evidence, of each person by a fusion learned without"
    data = f"{len(score)} recordings of {len(set(person))} people"
    right = np.array(states)
    kinds = np.array(species)
    values = {
        "eer": float(equal_error(curve(told))[0]),
        "live_as_live": _share(right == "LIVE", told.live),
        "live_as_spoof": _share(right == "SPOOF", told.live),
        "attack_as_live": _share(right == "LIVE", ~told.live),
        "attack_as_spoof": _share(right == "SPOOF", ~told.live),
        **{
            f"{kind}_as_live": _share(right == "LIVE", ~told.live & (kinds == kind))
            for kind in sorted(set(kinds[~told.live].tolist()))
        },
    }
    return [
        Metric(name=name, value=round(value, 4), unit="share", data=data, method=method)
        for name, value in values.items()
    ]


def _share(which: Bools, group: Bools) -> float:
    return float(np.mean(which[group]))


def _people(seen: Sequence[Watched]) -> int:
    return len({one.presentation.person for one in seen})
