"""Protocols as data: which samples train, choose and test, and the proof that no one is on both.

A protocol is a YAML file (the published ones lie in ``protocols/``). Its parts are lists of rules;
a sample belongs to a part where it meets one rule, and it meets a rule where every field named
there has one of the values given. ``"!x"`` means any value but x; ``{name}`` is replaced by what
the fold says of that name.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Lt

from ...graph.errors import GraphDefinitionError
from ...graph.plain_yaml import read_yaml
from ...graph.schema import parse, unknown_name
from .sample import DataError, Dataset, Part, Sample

Values = tuple[str, ...]
PARTS: tuple[Part, ...] = ("train", "dev", "test")
_SHARE = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions on a sample's fields; all that are given must hold."""

    dataset: Values = ()
    label: Values = ()
    species: Values = ()
    instrument: Values = ()
    person: Values = ()
    session: Values = ()
    camera: Values = ()
    medium: Values = ()
    split: Values = ()

    def takes(self, sample: Sample) -> bool:
        """Whether a sample meets every condition."""
        return all(
            _meets(getattr(sample, f.name), getattr(self, f.name))
            for f in fields(self)
            if getattr(self, f.name)
        )

    def at(self, fold: Mapping[str, str], where: str) -> "Rule":
        """The rule of one fold, its ``{names}`` replaced."""
        try:
            return Rule(
                **{
                    f.name: tuple(v.format_map(fold) for v in getattr(self, f.name))
                    for f in fields(self)
                }
            )
        except KeyError as error:
            raise DataError(
                f"{where}: {unknown_name(str(error.args[0]), list(fold))}; give it in the fold"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{where}: expected names of the fold in braces, found {error}; correct the rule"
            ) from error


@dataclass(frozen=True, slots=True)
class HashedParts:
    """Parts drawn by the hash of the person's name, for data that brings none."""

    dev: _SHARE = 0.2
    """Share of the persons."""
    test: _SHARE = 0.3
    """Share of the persons."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Who trains, chooses and tests."""

    name: str
    title: str
    """What it shows, in a few words."""
    source: str
    """Where it was published."""
    train: Sequence[Rule]
    test: Sequence[Rule]
    dev: Sequence[Rule] = ()
    """Where it takes no sample, ``dev_share`` of the persons of train choose instead."""
    datasets: Values = ()
    """Layouts that must be among the data; empty: any."""
    folds: tuple[Mapping[str, str], ...] = ({"name": ""},)
    """Values for ``{names}`` of the rules; ``name`` tells the folds apart."""
    dev_share: _SHARE = 0.2
    hashed_parts: HashedParts | None = None
    """Draw parts by person instead of taking the dataset's own."""
    train_frames: Annotated[int, Gt(0)] | None = None
    """First frames of a training video that may be used; None: all."""
    shares_persons: str = ""
    """Why persons stand on both sides, where the published protocol itself has them there."""
    counts: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    """Live and attack samples of the whole release, by fold (or ``all``) and part."""


@dataclass(frozen=True, slots=True)
class Split:
    """The samples of one fold of one protocol."""

    protocol: str
    fold: str
    train: tuple[Sample, ...]
    dev: tuple[Sample, ...]
    test: tuple[Sample, ...]
    train_frames: int | None = None
    """First frames of a training video that may be used; None: all."""
    shares_persons: str = ""
    """Why the published protocol has persons on both sides; empty: it has not."""
    expected: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Live and attack samples of each part in the whole release, where known."""

    def part(self, name: str) -> tuple[Sample, ...]:
        """The samples of ``train``, ``dev`` or ``test``."""
        samples: tuple[Sample, ...] = {"train": self.train, "dev": self.dev, "test": self.test}[
            name
        ]
        return samples

    def counts(self) -> dict[str, tuple[int, int]]:
        """Live and attack samples of each part."""
        return {name: _count(self.part(name)) for name in PARTS}

    def report(self) -> str:
        """One line for each part: live and attack samples, beside those of the whole release."""
        lines = [f"protocol {self.protocol}{' fold ' + self.fold if self.fold else ''}"]
        for name, (live, attack) in self.counts().items():
            whole = self.expected.get(name)
            short = f" (whole release: {whole[0]}, {whole[1]})" if whole else ""
            differs = whole is not None and tuple(whole) != (live, attack)
            lines.append(f"{name}: {live} live, {attack} attack{short if differs else ''}")
        unknown = sum(not s.person for name in PARTS for s in self.part(name))
        if unknown:
            lines.append(f"{unknown} samples of unknown persons: only recordings are kept apart")
        if self.shares_persons:
            lines.append(f"persons stand on both sides: {self.shares_persons}")
        return "\n".join(lines)


def protocols() -> tuple[str, ...]:
    """Names of the protocols that ship, sorted."""
    return tuple(sorted(_shipped()))


def load_protocol(source: str | Path) -> Protocol:
    """A protocol by name of a shipped one, or from a YAML file of one protocol.

    Raises:
        DataError: there is none, or the file is malformed, in a sentence for every problem.
    """
    name = str(source)
    shipped = _shipped()
    if name in shipped:
        return _protocol(shipped[name], f"protocol {name}")
    if Path(source).suffix not in (".yaml", ".yml"):
        raise DataError(f"protocol: {unknown_name(name, sorted(shipped))}, or give a YAML file")
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"protocol {name}: expected a YAML file, found {why.lower()}") from error
    return _protocol(_yaml(text, f"protocol {name}"), f"protocol {name}")


def split(
    data: Dataset | Iterable[Dataset], protocol: str | Path | Protocol, fold: str = ""
) -> Split:
    """Put the samples of one or more datasets into the parts of a protocol.

    Args:
        data: A dataset or several.
        protocol: A protocol, its name or its file.
        fold: Name of the fold; may be left out where there is only one.

    Returns:
        The split, checked by :func:`check_disjoint`.

    Raises:
        DataError: a dataset is missing, a name is unknown, a part stays empty, or a recording or
            person stands on both sides.
    """
    rules = protocol if isinstance(protocol, Protocol) else load_protocol(protocol)
    where = f"protocol {rules.name}"
    read = [data] if isinstance(data, Dataset) else list(data)
    _demand(rules.datasets, {d.name for d in read}, where)
    values = _fold(rules, fold, where)
    samples = [
        s for d in read for s in d.samples if not rules.datasets or s.dataset in rules.datasets
    ]
    if rules.hashed_parts is not None:
        samples = hash_parts(samples, rules.hashed_parts)
    at = {name: tuple(r.at(values, where) for r in getattr(rules, name)) for name in PARTS}
    parts: dict[str, tuple[Sample, ...]] = {
        n: tuple(s for s in samples if any(r.takes(s) for r in at[n])) for n in PARTS
    }
    if not parts["dev"]:
        parts["train"], parts["dev"] = _take_dev(parts["train"], rules.dev_share)
    _demand_both(parts, where, values["name"])
    expected = rules.counts.get(values["name"], rules.counts.get("all", {}))
    made = Split(
        rules.name,
        values["name"],
        parts["train"],
        parts["dev"],
        parts["test"],
        rules.train_frames,
        rules.shares_persons,
        expected,
    )
    check_disjoint(made)
    return made


def check_disjoint(made: Split) -> int:
    """Prove that no recording, and no known person, stands in two parts of a split.

    Returns:
        How many samples have no known person, so that for them only recordings were compared.

    Raises:
        DataError: a recording stands in two parts; or a person does. Only a published protocol
            that itself says why (``shares_persons``) may test on persons of train and dev.
    """
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        a, b = made.part(one), made.part(other)
        _refuse_shared("recording", {s.recording for s in a}, {s.recording for s in b}, one, other)
        if not (made.shares_persons and other == "test"):
            _refuse_shared("person", _persons(a), _persons(b), one, other)
    return sum(not s.person for name in PARTS for s in made.part(name))


def hash_parts(samples: Sequence[Sample], shares: HashedParts) -> list[Sample]:
    """Samples with parts drawn by the hash of their person, or recording where it is unknown."""
    drawn = draw_parts({_who(s) for s in samples}, shares.dev, shares.test)
    return [replace(s, split=drawn[_who(s)]) for s in samples]


def draw_parts(
    names: Iterable[str], dev_share: float, test_share: float
) -> dict[str, Literal["train", "dev", "test"]]:
    """Assign names to parts by the order of their SHA-256: the same names, the same parts.

    Shares are rounded to whole names. With a share above 0 a part gets at least one name as long
    as one is left for train; the test part is served before the dev part.
    """
    ranked = sorted(set(names), key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    tests = _whole_names(test_share, len(ranked), len(ranked) - 1)
    devs = _whole_names(dev_share, len(ranked), len(ranked) - tests - 1)
    parts: dict[str, Literal["train", "dev", "test"]] = {}
    for at, name in enumerate(ranked):
        parts[name] = "test" if at < tests else "dev" if at < tests + devs else "train"
    return parts


def _whole_names(share: float, of: int, at_most: int) -> int:
    return min(max(round(share * of), 1), max(at_most, 0)) if share > 0 else 0


def _take_dev(
    train: tuple[Sample, ...], share: float
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """A share of the persons of every dataset leaves train for dev."""
    drawn: dict[str, Literal["train", "dev", "test"]] = {}
    for name in {s.dataset for s in train}:
        drawn |= draw_parts({_who(s) for s in train if s.dataset == name}, share, 0.0)
    kept = tuple(s for s in train if drawn[_who(s)] == "train")
    return kept, tuple(s for s in train if drawn[_who(s)] == "dev")


def _who(sample: Sample) -> str:
    return f"{sample.dataset}/{sample.person}" if sample.person else sample.recording


def _persons(samples: Iterable[Sample]) -> set[str]:
    return {f"{s.dataset}/{s.person}" for s in samples if s.person}


def _refuse_shared(kind: str, a: set[str], b: set[str], one: str, other: str) -> None:
    shared = sorted(a & b)
    if shared:
        raise DataError(
            f"split: expected every {kind} in one part only, found {len(shared)} in {one} and "
            f"{other}, {shared[0]} among them; correct the protocol's rules"
        )


def _meets(value: str, wanted: Values) -> bool:
    refused = [w[1:] for w in wanted if w.startswith("!")]
    named = [w for w in wanted if not w.startswith("!")]
    return value not in refused and (not named or value in named)


def _count(samples: Sequence[Sample]) -> tuple[int, int]:
    live = sum(s.label == "live" for s in samples)
    return live, len(samples) - live


def _demand(wanted: Values, given: set[str], where: str) -> None:
    gone = [name for name in wanted if name not in given]
    if gone:
        raise DataError(
            f"{where}: expected the datasets {', '.join(wanted)}, found "
            f"{', '.join(sorted(given)) or 'none'}; read {', '.join(gone)} too"
        )


def _demand_both(parts: Mapping[str, tuple[Sample, ...]], where: str, fold: str) -> None:
    for name, samples in parts.items():
        live, attack = _count(samples)
        if not live or not attack:
            raise DataError(
                f"{where}{', fold ' + fold if fold else ''}: expected live and attack samples in "
                f"{name}, found {live} and {attack}; add data or take another protocol"
            )


def _fold(rules: Protocol, fold: str, where: str) -> Mapping[str, str]:
    folds = {f["name"]: f for f in rules.folds}
    if not fold and len(folds) == 1:
        return next(iter(folds.values()))
    if fold not in folds:
        raise DataError(f"{where}, fold: {unknown_name(fold, list(folds))}")
    return folds[fold]


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in files(__package__).joinpath("protocols").iterdir():
        if file.name.endswith(".yaml"):
            content = _yaml(file.read_text(encoding="utf-8"), f"protocols {file.name}")
            found |= {one["name"]: one for one in content["protocols"]}
    return found


def _yaml(text: str, where: str) -> Any:
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{where}: expected YAML, found {detail}; correct it") from error


def _protocol(content: Any, where: str) -> Protocol:
    try:
        made = parse(Protocol, content, where)
    except GraphDefinitionError as error:
        raise DataError(str(error)) from error
    names = [fold.get("name") for fold in made.folds]
    if None in names or len(set(names)) != len(names) or not names:
        raise DataError(f"{where}.folds: expected a name of its own for every fold, found {names}")
    return made
