"""Weights of PyTorch, read without it; what else a pickle can hold is refused."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.engines.torch_file import read_torch_file


def saved(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


STATE = OrderedDict(
    kernel=torch.arange(24.0).reshape(2, 3, 4),
    turned=torch.arange(6.0).reshape(2, 3).T,
    part=torch.arange(10.0)[4:7],
    count=torch.tensor(7),
    nothing=torch.zeros(0, 3),
)


def test_tensors_are_read_as_pytorch_wrote_them() -> None:
    found = read_torch_file(saved(STATE))
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(saved(STATE)) - 1))
def test_a_file_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"PyTorch|expected"):
        read_torch_file(saved(STATE)[:length])


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (trap,))

    for content in (pickle.dumps(Trap()), saved(OrderedDict(a=Trap()))):
        with pytest.raises(ValueError, match="no place among weights"):
            read_torch_file(content)
    assert not trap.exists()


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="older form"):
        read_torch_file(pickle.dumps(1) + pickle.dumps(2))
    with pytest.raises(ValueError, match="dictionary of tensors"):
        read_torch_file(saved(OrderedDict(a=3)))
    with pytest.raises(ValueError, match="HalfStorage"):
        read_torch_file(saved(OrderedDict(a=torch.zeros(2, dtype=torch.float16))))
