"""A stand-in for a GPU: a device whose tensors the CPU computes, and which keeps to itself.

Inside :class:`Elsewhere`, what is put on the device :data:`THERE` is computed as on the CPU, with
the CPU's random numbers. As on a GPU, no operation takes tensors of both devices, but for copies
from one to the other and numbers (0-d tensors of the CPU), and NumPy sees nothing of it. It says
nothing of a GPU's kernels, numbers or speed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from padflow.trainers import pulse_training
from padflow.trainers.learning import device_of
from padflow.trainers.motion import pulse_training as motion_pulse_training
from padflow.trainers.motion import training as motion_training
from padflow.trainers.training import Say

THERE = torch.device("lazy:0")
"""Of the kinds that torch knows without a driver; its own backend for it is never asked."""

HERE = torch.device("cpu")

_COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class _There(Tensor):
    """A tensor on the device; ``here`` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "_There":
        made: _There = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=THERE,
        )
        made.here = here
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As a file holds it that is read with ``map_location="cpu"``."""
        return self.here.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise AssertionError(f"{func} outside of Elsewhere")


class Elsewhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it lasts there is the device; ``seen`` counts the operations on it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        given = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
        there = any(isinstance(one, _There) for one in given)
        if there and func not in _COPIES:
            self.seen += 1
            strays = [one for one in given if not isinstance(one, _There) and one.ndim]
            assert not strays, f"{func}: {len(strays)} of {len(given)} tensors are on the CPU"
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]) == THERE
            kwargs["device"] = torch.device("cpu") if there else kwargs["device"]
        found = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if func._schema.is_mutable and given:
            changed = [one for one in given if found is _here(one)]
            return changed[0] if changed else found
        return tree_map(_there, found) if there else found


def _here(one: Any) -> Any:
    return one.here if isinstance(one, _There) else one


def _there(one: Any) -> Any:
    return _There(one) if isinstance(one, Tensor) else one


class Train(Protocol):
    """A short training of more than one epoch; gives the network."""

    def __call__(
        self, folder: Path, *, device: torch.device | None, resume: bool, say: Say
    ) -> nn.Module: ...


def assert_learns_the_same_elsewhere(train: Train, folder: Path, cut_at: str = "epoch 1") -> None:
    """There, unasked, as here, and where it goes on on the other device after an interruption."""

    def whole(name: str, device: torch.device | None, *, resume: bool = False) -> nn.Module:
        return train(folder / name, device=device, resume=resume, say=lambda line: None)

    def cut(line: str) -> None:
        if line.startswith(cut_at):
            raise KeyboardInterrupt

    wanted = whole("here", HERE)
    with Elsewhere() as there, pytest.MonkeyPatch.context() as patch:
        for module in (pulse_training, motion_training, motion_pulse_training):
            patch.setattr(module, "training_device", lambda: THERE)
        found = [whole("there", None)]
        assert there.seen > 1000
        for first, then in ((HERE, THERE), (THERE, HERE)):
            with pytest.raises(KeyboardInterrupt):
                train(folder / str(first), device=first, resume=False, say=cut)
            found.append(whole(str(first), then, resume=True))
    for network in found:
        assert device_of(network) == HERE
        assert _distance(network, wanted) < 1e-3


def _distance(network: nn.Module, wanted: nn.Module) -> float:
    """Between all weights, as a share of their size; not 0, since kernels round differently."""
    ours, theirs = (
        torch.cat([p.detach().flatten() for p in n.parameters()]) for n in (network, wanted)
    )
    return float((ours - theirs).norm() / theirs.norm())
