"""Plain data to dataclasses: every error says where, expected and found."""

import subprocess
import sys
from dataclasses import dataclass, field
from math import nan
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt, Interval
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.errors import GraphDefinitionError
from padflow.graph.schema import parse


@dataclass(frozen=True)
class Cue:
    weight: Annotated[float, Interval(ge=0, le=1)]
    reasons: tuple[str, ...] = ()
    bias: float = 0.0


@dataclass(frozen=True)
class Policy:
    name: str
    mode: Literal["strict", "lax"] = "strict"
    period: Annotated[float, Gt(0)] = 1.0
    cues: dict[str, Cue] = field(default_factory=dict)
    inner: Cue | None = None
    several: tuple[Cue, ...] = ()


def test_nested_data_becomes_nested_dataclasses() -> None:
    given_data = {"name": "p", "cues": {"pulse": {"weight": 0.5, "reasons": ["a", "b"]}}}
    expected = Policy("p", cues={"pulse": Cue(0.5, ("a", "b"))})
    assert parse(Policy, given_data, "here") == expected


def test_an_instance_is_handed_back() -> None:
    policy = Policy("p")
    assert parse(Policy, policy, "here") is policy


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "here.name: expected a value, found nothing"),
        (
            {"name": "p", "perod": 1},
            "here: expected one of cues, inner, mode, name, period, several",
        ),
        ({"name": "p", "perod": 1}, "found 'perod'; did you mean 'period'?"),
        ({"name": "p", "period": 0}, "here.period: expected greater than 0, found 0"),
        ({"name": "p", "period": "x"}, "here.period: expected a valid number, found 'x'"),
        ({"name": "p", "mode": "hard"}, "here.mode: expected 'strict' or 'lax', found 'hard'"),
        (
            {"name": "p", "cues": {"pulse": {"wieght": 1}}},
            "here.cues.pulse: expected one of bias, reasons, weight, found 'wieght'; "
            "did you mean 'weight'?",
        ),
        ({"name": "p", "inner": {"wieght": 1}}, "did you mean 'weight'?"),
        (
            {"name": "p", "several": [{"weight": 1}, {"wieght": 1}]},
            "here.several[1]: expected one of bias, reasons, weight, found 'wieght'",
        ),
        ({"name": "p", "cues": {"pulse": 3}}, "here.cues.pulse: expected a mapping"),
        (
            {"name": "p", "several": [{"weight": 1}, {"weight": 1, "bias": nan}]},
            "here.several[1].bias: expected a number, found nan",
        ),
        (
            {"name": "p", "cues": {"pulse": {"weight": 1, "bias": "nan"}}},
            "here.cues.pulse.bias: expected a number, found nan",
        ),
        (5, "here: expected a mapping of names to values, found 5"),
        (None, "here: expected a mapping of names to values, found None"),
    ],
)
def test_errors_say_where_expected_and_found(data: Any, told: str) -> None:
    with pytest.raises(GraphDefinitionError) as caught:
        parse(Policy, data, "here")
    assert told in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    data = {"nam": "p", "period": -1, "cues": {"a": {"weight": 7}}}
    with pytest.raises(GraphDefinitionError) as caught:
        parse(Policy, data, "here")
    assert len(str(caught.value).splitlines()) == 4


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(plain | st.fixed_dictionaries({"name": plain, "cues": plain, "inner": plain}))
def test_whatever_is_given_there_is_a_policy_or_a_sentence(data: Any) -> None:
    try:
        assert isinstance(parse(Policy, data, "here"), Policy)
    except GraphDefinitionError as error:
        for line in str(error).splitlines():
            assert line.startswith("here")
            assert "expected" in line
            assert "found" in line


def test_the_graph_package_imports_without_pydantic() -> None:
    code = "import sys, padflow.graph.local; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
