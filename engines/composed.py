"""A third-party network whose features a small network of ours judges, as one ONNX file.

The two lie apart: the third-party file in the model folder, ours in its bundle. Every backend runs
one file, so they are joined when a bundle is opened, and the result is kept in the model folder.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import MinLen
from pydantic import FiniteFloat, StringConstraints

from .errors import BundleError
from .network import Network
from .store import file_sha256, model_folder, stored_network
from .whole_file import write_whole

if TYPE_CHECKING:
    import onnx

FEATURES = "features"
"""Name of the tensor that both have in common."""
_FOLDER = ".composed"
_joined_before: dict[tuple[str, str, tuple[int, ...]], str] = {}
"""SHA-256 of what this process joined, by the SHA-256 of both and the shape of the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRule:
    """Which third-party network sees the picture before ours does."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: Annotated[str, MinLen(1)]
    """Its name among the third-party models."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Of its file: another edition gives other features."""
    scales: Annotated[tuple[FiniteFloat, ...], MinLen(1)]
    """Side of each square picture over the face's box, in order of the pictures; 0: the picture is
    of the frame's own pixels."""


def feature_rule(model: str, scales: Sequence[float]) -> FeatureRule:
    """The rule for the edition that is in the model folder.

    Args:
        model: Its name among the third-party models.
        scales: Side of each picture over the face's box.

    Raises:
        ModelMissing: it has not been pulled.
        ModelDamaged: its file is not what was pulled.
    """
    digest = stored_network(model).sha256
    return FeatureRule(model=model, sha256=digest, scales=tuple(scales))


def on_features(head: Network, rule: FeatureRule) -> Network:
    """A network that takes the pictures, of one that takes the features of a rule.

    Args:
        head: declared to take ``image`` uint8 (N, V, side, side, 3), one picture for each of the
            rule's V scales; its file takes the V feature vectors one behind the other.
        rule: where the features come from.

    Raises:
        ModelMissing: the third-party network has not been pulled.
        BundleError: the model folder holds another edition, or the two do not fit together.
    """
    source = _source(rule)
    parts = (source.sha256, head.sha256, head.inputs[0].shape)
    digest = _joined_before.get(parts, "")
    path = _place(head.name, digest)
    if not (digest and path.is_file() and file_sha256(path) == digest):
        path, digest = _stored(_joined(source.path, head), head.name)
        _joined_before[parts] = digest
    return replace(head, path=path, sha256=digest)


def _source(rule: FeatureRule) -> Network:
    source = stored_network(rule.model)
    if source.sha256 != rule.sha256:
        raise BundleError(
            f"model {rule.model}: expected the edition with SHA-256 {rule.sha256[:12]}…, which the "
            f"bundle was trained on, found {source.sha256[:12]}…; get a bundle for this release, "
            "or train anew"
        )
    return source


def _joined(source: Path, head: Network) -> bytes:
    """The file that takes the pictures that the head is declared to take."""
    import onnx

    model = onnx.load(source)
    _take_views(model.graph, head.inputs[0].shape[1:])
    _append(model, onnx.load(head.path), head.path)
    return bytes(model.SerializeToString(deterministic=True))


def _take_views(graph: "onnx.GraphProto", shape: tuple[int, ...]) -> None:
    """Let the network take several pictures a sample and give their features in one row."""
    from onnx import TensorProto, helper, numpy_helper

    first, last = graph.node[0], graph.node[-1]
    length = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if first.op_type != "Cast" or list(last.output) != [FEATURES]:
        raise BundleError(
            f"{graph.name}: expected a network that casts the image and ends with {FEATURES}"
        )
    one = np.array([-1, *shape[1:]], np.int64)
    row = np.array([-1, shape[0] * length], np.int64)
    graph.initializer.extend(
        [numpy_helper.from_array(one, "views_one"), numpy_helper.from_array(row, "views_row")]
    )
    result = first.output[0]
    first.output[0], last.output[0] = "views_numbers", "views_features"
    # Behind the cast: TensorRT does nothing with uint8 but cast it.
    apart = helper.make_node("Reshape", ["views_numbers", "views_one"], [result])
    joined = helper.make_node("Reshape", ["views_features", "views_row"], [FEATURES])
    rest = list(graph.node)[1:]
    del graph.node[1:]
    graph.node.extend([apart, *rest, joined])
    sizes: tuple[str | int | None, ...] = ("batch", *shape)
    picture = helper.make_tensor_value_info("image", TensorProto.UINT8, sizes)
    graph.input[0].CopyFrom(picture)
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = shape[0] * length


def _append(model: "onnx.ModelProto", head: "onnx.ModelProto", path: Path) -> None:
    from onnx import compose

    names = [value.name for value in head.graph.input]
    opsets = [{entry.domain: entry.version for entry in m.opset_import} for m in (model, head)]
    if names != [FEATURES] or opsets[0].get("") != opsets[1].get(""):
        raise BundleError(
            f"{path.name}: expected a network of operator set {opsets[0].get('')} with the input "
            f"{FEATURES}, found set {opsets[1].get('')} and the inputs {', '.join(names)}"
        )
    outputs = {value.name for value in head.graph.output}
    inner = compose.add_prefix(head, "head_", rename_inputs=False, rename_outputs=False)
    graph = compose.merge_graphs(model.graph, inner.graph, [(FEATURES, FEATURES)])
    assert {value.name for value in graph.output} == outputs
    model.graph.CopyFrom(graph)
    model.ir_version = max(model.ir_version, head.ir_version)


def _place(name: str, digest: str) -> Path:
    return model_folder() / _FOLDER / f"{name}-{digest[:16]}.onnx"


def _stored(content: bytes, name: str) -> tuple[Path, str]:
    """Path of a file with that content in the model folder, and its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    path = _place(name, digest)
    if path.is_file() and path.read_bytes() == content:
        return path, digest
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, sync=True, mode=0o644)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be written: {error}; make the model folder writable, or set "
            "PADFLOW_MODELS to one that is"
        ) from error
    return path, digest
