"""The conformance suite passes good nodes and fails bad ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from padflow.graph.node import Begin, Contract, Finish, Node, Outputs, Port
from padflow.graph.packet import End, Packet
from padflow.graph.testing import (
    Counter,
    NodeConformance,
    NoParams,
    PassThrough,
    Sample,
    packet,
)


class TestPassThroughConforms(NodeConformance):
    def node(self) -> Node[Any]:
        return PassThrough(NoParams())

    def sample(self) -> Sample:
        return [("in", packet("s", n / 25, n)) for n in range(6)]


class TestCounterConforms(NodeConformance):
    def node(self) -> Node[Any]:
        return Counter(NoParams())

    def sample(self) -> Sample:
        return [("in", packet("s", n / 25, n)) for n in range(6)]


@dataclass(frozen=True)
class WrongParams:
    wrong: str = ""


class Wrong(Node[WrongParams]):
    """Breaks one rule of the contract, which one is asked."""

    Params = WrongParams
    contracts = 0

    @classmethod
    def contract(cls, params: WrongParams) -> Contract:
        cls.contracts += params.wrong == "impure"
        return Contract(
            inputs={"in": Port(int, "numbers")},
            outputs={"out": Port(int, "numbers")},
            state="stream",
            max_gap=float(cls.contracts) if params.wrong == "impure" else 5.0,
        )

    def __init__(self, params: WrongParams) -> None:
        super().__init__(params)
        self._total = 0

    def new_state(self, begin: Begin) -> Any:
        return _unpicklable() if self.params.wrong == "export" else [0]

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        wrong = self.params.wrong
        if wrong == "batch":
            return {"out": [packets[-1].carry(sum(p.payload for p in packets))]}
        out = []
        for given, state in zip(packets, states, strict=True):
            self._total += given.payload
            value = self._total if wrong == "shared" else given.payload
            out.append(given.carry(str(value) if wrong == "type" else value))
            if wrong == "time":
                out[-1] = out[-1]._replace(time=given.time + 0.001)
            if wrong != "export":
                state[0] += 1
        if wrong == "order":
            out += [packets[0].carry(1)._replace(time=0.0)]
        return {"elsewhere" if wrong == "port" else "out": out}

    def finish(self, state: Any, finish: Finish) -> Outputs:
        if self.params.wrong == "finish" and finish.reason == "gap":
            raise RuntimeError("gaps are not foreseen")
        return {}


def _unpicklable() -> Iterator[int]:
    yield 0


CAUGHT_BY = {
    "impure": "test_contract_is_pure",
    "type": "test_outputs_fit_the_contract",
    "port": "test_outputs_fit_the_contract",
    "time": "test_outputs_fit_the_contract",
    "order": "test_order_is_kept",
    "batch": "test_batches_do_not_matter",
    "shared": "test_states_are_independent",
    "export": "test_states_survive_export",
    "finish": "test_every_way_of_finishing",
}


def suite(wrong: str) -> NodeConformance:
    class Suite(NodeConformance):
        def node(self) -> Node[Any]:
            return Wrong(WrongParams(wrong))

        def sample(self) -> Sample:
            return [("in", packet("s", n / 25, n + 1)) for n in range(6)]

    return Suite()


@pytest.mark.parametrize("wrong", list(CAUGHT_BY))
def test_a_node_that_breaks_a_rule_is_caught(wrong: str) -> None:
    check = getattr(suite(wrong), CAUGHT_BY[wrong])
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check()


def test_the_same_node_without_the_fault_passes() -> None:
    good = suite("")
    for name in dir(good):
        if name.startswith("test_"):
            getattr(good, name)()


def test_a_sample_that_proves_nothing_is_refused() -> None:
    class Short(NodeConformance):
        def node(self) -> Node[Any]:
            return PassThrough(NoParams())

        def sample(self) -> Sample:
            return [("in", packet("s", 0.0, End("x")))]

    with pytest.raises(AssertionError, match="at least three"):
        Short().test_sample_fits_the_contract()
