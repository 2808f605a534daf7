"""The conformance suite that every backend must pass, ours and third-party ones.

A backend's test file is a subclass with two lines::

    from padflow.engines.testing import EngineConformance

    class TestMyBackend(EngineConformance):
        backend = "my-backend"

Needs pytest and onnx (``padflow[dev]``). A backend that this machine cannot run is skipped with
the reason that the backend gives.
"""

import pickle
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from .engine import Engine, choose_backend, open_network
from .errors import BackendMissing, InferenceError, InputMismatch
from .network import Network, Options, TensorSpec
from .store import file_sha256

SIZE = 16
"""Side of the sample network's picture in pixels."""


def write_sample_network(path: Path, batch: int | None = None) -> Network:
    """A small network with what ours have: uint8 picture in, normalisation inside, state.

    Inputs: ``image`` uint8 (n, 16, 16, 3) and ``state`` float32 (n, 4). Outputs: ``score``
    float32 (n, 2) and ``state_out`` float32 (n, 4).

    Args:
        path: the ``.onnx`` file to write.
        batch: a batch that the file fixes; ``None`` for any.
    """
    rng = np.random.default_rng(7)
    size: int | str = "n" if batch is None else batch
    numbers = {
        "scale": np.float32(255.0),
        "kernel": rng.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "decay": np.float32(0.5),
        "weights": rng.normal(0, 1, (4, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Mul", ["state", "decay"], ["faded"]),
        helper.make_node("Add", ["flat", "faded"], ["state_out"]),
        helper.make_node("MatMul", ["state_out", "weights"], ["score"]),
    ]
    floats, bytes_ = TensorProto.FLOAT, TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "sample",
        [
            helper.make_tensor_value_info("image", bytes_, [size, SIZE, SIZE, 3]),
            helper.make_tensor_value_info("state", floats, [size, 4]),
        ],
        [
            helper.make_tensor_value_info("score", floats, [size, 2]),
            helper.make_tensor_value_info("state_out", floats, [size, 4]),
        ],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return Network("sample", path, file_sha256(path))


SAMPLE_INPUTS = (
    TensorSpec("image", "uint8", (-1, SIZE, SIZE, 3), "NHWC", "", "RGB picture, 0..255"),
    TensorSpec("state", "float32", (-1, 4), "NC", "", "what the step before gave"),
)
SAMPLE_OUTPUTS = (
    TensorSpec("score", "float32", (-1, 2), "NC", "logit", "scores of the two classes"),
    TensorSpec("state_out", "float32", (-1, 4), "NC", "", "for the next step"),
)


def sample_arrays(batch: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs for the sample network."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8),
        "state": rng.normal(0, 1, (batch, 4)).astype(np.float32),
    }


class EngineConformance:
    """What an engine must do, whatever runs it."""

    backend: ClassVar[str]
    tolerance: ClassVar[float] = 1e-4
    """Largest absolute difference from onnxruntime in f32 that is allowed."""

    @pytest.fixture
    def network(self, tmp_path: Path) -> Network:
        """The network to test with; override it for a backend that does not read ONNX."""
        return write_sample_network(tmp_path / "sample.onnx")

    def load(self, network: Network, without: frozenset[str] = frozenset()) -> Engine:
        """Open on this backend, or skip with the reason why this machine cannot."""
        try:
            choose_backend(network, self.backend)
        except BackendMissing as error:
            pytest.skip(str(error))
        return open_network(network, self.backend, Options(precision="f32", without=without))

    def expected(
        self, network: Network, arrays: dict[str, np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """What the network must give: onnxruntime's answer."""
        with open_network(network, "onnxruntime", Options(precision="f32")) as reference:
            return reference.infer(arrays)

    def same(
        self, found: dict[str, np.ndarray[Any, Any]], expected: dict[str, np.ndarray[Any, Any]]
    ) -> None:
        """Compare two results within the backend's tolerance."""
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            np.testing.assert_allclose(found[name], array, atol=self.tolerance, rtol=1e-3)

    def test_says_what_it_is(self, network: Network) -> None:
        """Names, types and shapes are the network's, with any batch."""
        with self.load(network) as engine:
            assert engine.backend == self.backend
            assert (engine.name, engine.sha256) == (network.name, network.sha256)
            inputs = {spec.name: (spec.dtype, spec.shape) for spec in engine.inputs}
            assert inputs == {s.name: (s.dtype, s.shape) for s in SAMPLE_INPUTS}
            outputs = {spec.name: (spec.dtype, spec.shape) for spec in engine.outputs}
            assert outputs == {s.name: (s.dtype, s.shape) for s in SAMPLE_OUTPUTS}

    @pytest.mark.parametrize("batch", [1, 2, 3, 8, 33])
    def test_gives_what_onnxruntime_gives(self, network: Network, batch: int) -> None:
        """Parity at every batch size, up and down."""
        with self.load(network) as engine:
            for size in (batch, 1, batch):
                arrays = sample_arrays(size, seed=size)
                self.same(engine.infer(arrays), self.expected(network, arrays))

    def test_runs_any_batch_where_the_file_fixes_it_to_one(self, tmp_path: Path) -> None:
        """A network exported for one sample takes several all the same."""
        network = write_sample_network(tmp_path / "one.onnx", batch=1)
        arrays = sample_arrays(3)
        with self.load(network) as engine:
            found = engine.infer(arrays)
        self.same(found, self.expected(write_sample_network(tmp_path / "any.onnx"), arrays))

    def test_leaves_out_what_nobody_takes(self, network: Network) -> None:
        """An output that is left out is neither named nor given; the others are as they were."""
        arrays = sample_arrays(3)
        with self.load(network, frozenset({"state_out", "unheard_of"})) as engine:
            assert [spec.name for spec in engine.outputs] == ["score"]
            found = engine.infer(arrays)
        self.same(found, {"score": self.expected(network, arrays)["score"]})

    def test_gives_the_same_twice(self, network: Network) -> None:
        """Determinism, bit for bit."""
        arrays = sample_arrays(2)
        with self.load(network) as engine:
            first, _, second = (engine.infer(a) for a in (arrays, sample_arrays(2, 9), arrays))
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name])

    def test_warms_up_and_forgets_it(self, network: Network) -> None:
        """A first inference on zeros is run and changes nothing."""
        arrays = sample_arrays(1)
        with self.load(network) as engine:
            cold = engine.infer(arrays)
        with self.load(network) as engine:
            assert engine.warm_up()
            self.same(engine.infer(arrays), cold)

    def test_results_belong_to_the_caller(self, network: Network) -> None:
        """A later call does not change an earlier result, and writing to it harms nothing."""
        with self.load(network) as engine:
            first = engine.infer(sample_arrays(1, 1))
            kept = {name: array.copy() for name, array in first.items()}
            engine.infer(sample_arrays(1, 2))
            for name, array in kept.items():
                np.testing.assert_array_equal(first[name], array)
                first[name][:] = 0
            self.same(engine.infer(sample_arrays(1, 1)), kept)

    def test_takes_views_and_read_only_arrays(self, network: Network) -> None:
        """Neither a slice nor a reversed nor a read-only array has to be copied by the caller."""
        wide = sample_arrays(6)
        views = {name: array[::-2] for name, array in wide.items()}
        frozen = {name: array.copy() for name, array in views.items()}
        for array in frozen.values():
            array.flags.writeable = False
        with self.load(network) as engine:
            self.same(engine.infer(views), self.expected(network, frozen))
            self.same(engine.infer(frozen), self.expected(network, frozen))
        for name, array in sample_arrays(6).items():
            np.testing.assert_array_equal(wide[name], array)

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"state": None}, "'image', 'state'"),
            ({"other": np.zeros(1)}, "'other'"),
            ({"image": np.zeros((1, SIZE, SIZE, 3), np.float32)}, "uint8"),
            ({"image": np.zeros((1, SIZE, SIZE, 4), np.uint8)}, "16, 16, 4"),
            ({"image": np.zeros((SIZE, SIZE, 3), np.uint8)}, "(16, 16, 3)"),
            ({"image": np.zeros((0, SIZE, SIZE, 3), np.uint8)}, "(0, 16, 16, 3)"),
            ({"image": np.zeros((2, SIZE, SIZE, 3), np.uint8)}, "batch"),
            ({"state": [[0.0] * 4]}, "list"),
        ],
    )
    def test_refuses_wrong_inputs(
        self, network: Network, changed: dict[str, Any], told: str
    ) -> None:
        """By name, type, rank, length and batch, in a sentence that tells what was found."""
        arrays = sample_arrays(1) | changed
        with self.load(network) as engine:
            with pytest.raises(InputMismatch) as refusal:
                engine.infer({name: a for name, a in arrays.items() if a is not None})
            assert told in str(refusal.value)
            assert engine.name in str(refusal.value)
            engine.infer(sample_arrays(1))

    def test_closes_twice_and_refuses_afterwards(self, network: Network) -> None:
        """Use after close is an error with a name, not a crash."""
        engine = self.load(network)
        engine.close()
        engine.close()
        with pytest.raises(InferenceError, match="closed"):
            engine.infer(sample_arrays(1))

    def test_lets_not_a_number_pass(self, network: Network) -> None:
        """NaN in gives NaN out, for that sample alone; it is the caller who must look."""
        arrays = sample_arrays(2)
        arrays["state"][1] = np.nan
        with self.load(network) as engine:
            score = engine.infer(arrays)["score"]
        assert np.isfinite(score[0]).all()
        assert np.isnan(score[1]).all()

    def test_one_engine_serves_many_threads(self, network: Network) -> None:
        """Calls from several threads wait for each other and do not mix their results."""
        with self.load(network) as engine:
            self._hammer(network, [engine] * 4)

    def test_engines_run_side_by_side(self, network: Network) -> None:
        """Several engines of one network do not mix their results either."""
        engines = [self.load(network) for _ in range(4)]
        try:
            self._hammer(network, engines)
        finally:
            for engine in engines:
                engine.close()

    def test_outlives_a_sister_engine(self, network: Network) -> None:
        """What engines share stays while one of them is open."""
        arrays = sample_arrays(1)
        with self.load(network) as engine:
            self.load(network).close()
            self.same(engine.infer(arrays), self.expected(network, arrays))

    def test_network_travels_to_a_worker(self, network: Network) -> None:
        """What an engine is made from pickles, so that it can be made where it runs."""
        assert pickle.loads(pickle.dumps(network)) == network

    def _hammer(self, network: Network, engines: list[Engine]) -> None:
        wanted = [self.expected(network, sample_arrays(1 + i, i)) for i in range(len(engines))]
        faults: list[BaseException] = []

        def work(index: int) -> None:
            try:
                for _ in range(20):
                    found = engines[index].infer(sample_arrays(1 + index, index))
                    self.same(found, wanted[index])
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(engines))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults, faults
