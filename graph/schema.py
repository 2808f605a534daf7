"""From plain YAML or JSON data to frozen dataclasses, with errors that a person can act on.

pydantic does the checking, but only here and only on first use: the dataclasses stay plain.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isnan
from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from .errors import GraphDefinitionError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_FOUND_LENGTH = 60


def parse(cls: type[T], mapping: Any, where: str) -> T:
    """Make an instance of a (nested) dataclass out of plain data.

    Args:
        cls: A standard-library dataclass; constraints as ``Annotated[float, Gt(0)]``.
        mapping: What YAML or JSON gave. An instance of ``cls`` is handed back as it is.
        where: Where the data stands, for the errors: ``graph 'door', node 'detect', params``.

    Raises:
        GraphDefinitionError: A sentence for every problem: unknown key, missing or wrong value.
    """
    if isinstance(mapping, cls):
        return mapping
    from pydantic import ValidationError

    kept: Any = cls
    try:
        parsed: T = _adapter(kept).validate_python((mapping,))[0]
        problems = [f"{where}{path}: expected a number, found nan" for path in _not_numbers(parsed)]
        if not problems:
            return parsed
    except ValidationError as error:
        problems = _sentences(cls, error.errors(include_url=False), where)
    raise GraphDefinitionError("\n".join(problems))


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that a person most likely meant, or an empty string."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return matches[0] if matches else ""


def unknown_name(name: str, known: Sequence[str]) -> str:
    """``expected one of …, found 'x'; did you mean 'y'?`` for any name that must be known."""
    listed = ", ".join(sorted(known)) or "nothing (there is none)"
    guess = nearest(name, known)
    hint = f"; did you mean '{guess}'?" if guess else ""
    return f"expected one of {listed}, found '{_on_one_line(name)}'{hint}"


@lru_cache(maxsize=256)
def _adapter(cls: Any) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    # A dataclass takes no config from outside, but a tuple around it hands its own down to it.
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    around: Any = GenericAlias(tuple, (cls,))
    return TypeAdapter(around, config=config)


def _not_numbers(value: Any) -> Iterator[str]:
    """Where NaN stands, which only bounds keep out, and a field without bounds has none."""
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, float) and isnan(value):
        yield ""
    elif is_dataclass(value) and not isinstance(value, type):
        inner = ((f".{f.name}", getattr(value, f.name)) for f in fields(value))
    elif isinstance(value, Mapping):
        inner = ((f".{_on_one_line(key)}", value[key]) for key in value)
    elif isinstance(value, (list, tuple)):
        inner = ((f"[{place}]", item) for place, item in enumerate(value))
    for step, item in inner:
        yield from (step + rest for rest in _not_numbers(item))


def _sentences(cls: type, errors: Sequence[Any], where: str) -> list[str]:
    sentences = []
    for error in errors:
        location = tuple(error["loc"])[1:]
        owner = _owner(cls, location)
        path = _path(location, owner, error["type"])
        found = _shown(error["input"])
        if error["type"] == "unexpected_keyword_argument":
            known = [f.name for f in fields(owner)] if owner is not None else []
            sentences.append(f"{where}{path}: {unknown_name(str(location[-1]), known)}")
        elif error["type"] == "missing":
            sentences.append(f"{where}{path}: expected a value, found nothing; give one")
        else:
            sentences.append(f"{where}{path}: expected {_expectation(error)}, found {found}")
    return list(dict.fromkeys(sentences))


def _expectation(error: Any) -> str:
    if error["type"] == "dataclass_type":
        return "a mapping of names to values"
    text = str(error["msg"])
    for start in ("Input should be ", "Value error, ", "Assertion failed, "):
        text = text.removeprefix(start)
    return text.partition(", unable to parse")[0].partition(", got a number")[0]


def _path(location: tuple[Any, ...], owner: type | None, kind: str) -> str:
    if kind == "unexpected_keyword_argument":
        location = location[:-1]
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{_on_one_line(part)}" for part in location
    ]
    return "".join(parts)


def _owner(cls: type, location: tuple[Any, ...]) -> type | None:
    """The dataclass that holds the last name of a pydantic location."""
    at: Any = cls
    for part in location[:-1]:
        at = _step(at, part)
    found = [member for member in _members(at) if is_dataclass(member)]
    return found[0] if found and isinstance(found[0], type) else None


def _step(annotation: Any, part: Any) -> Any:
    for member in _members(annotation):
        if is_dataclass(member) and isinstance(member, type):
            if part == member.__name__:
                return member
            hints = get_type_hints(member)
            if part in hints:
                return hints[part]
    # A tuple[X, ...] has Ellipsis for its last argument.
    inner = [arg for arg in get_args(annotation) if arg is not type(None) and arg is not Ellipsis]
    return inner[-1] if inner and _is_container(annotation) else annotation


def _is_container(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, (Mapping, Sequence, set, frozenset))


def _members(annotation: Any) -> list[Any]:
    """The annotation itself and, where it is a union or annotated, what it is made of."""
    if _is_container(annotation):
        return []
    members = [annotation]
    for inner in get_args(annotation):
        members.extend(_members(inner))
    return members


def _on_one_line(name: Any) -> str:
    text = str(name)
    return text if text.isprintable() else repr(text)[1:-1]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _FOUND_LENGTH else text[: _FOUND_LENGTH - 1] + "…"
