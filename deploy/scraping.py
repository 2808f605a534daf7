"""Reads a metrics page and says what happened between two looks at it."""

import re
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from math import inf
from urllib.parse import urlsplit, urlunsplit

from prometheus_client.parser import text_string_to_metric_families

from ..nodes.sources import redact
from .exits import UsageError

TIMEOUT = 5.0
PREFIX = "padflow_"
MOST_BYTES = 64_000_000

_Labels = frozenset[tuple[str, str]]
Groups = dict[tuple[str, ...], float]
"""Values by the labels that were asked for."""


class Unreachable(UsageError):
    """Nothing that serves padflow's metrics answers, told in one sentence."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one look saw."""

    at: float
    """When, on ``time.monotonic()``."""
    samples: Mapping[str, Mapping[_Labels, float]]
    """By name (without the prefix ``padflow_``) and labels. Beside ``actor`` stands ``kind``: its
    name without the number behind it."""

    def by(self, name: str, *labels: str) -> Groups:
        """Sums of a name's samples, grouped by labels."""
        return _grouped(self.samples.get(name, {}).items(), labels)

    def total(self, name: str) -> float:
        """Sum of all samples of a name."""
        return sum(self.samples.get(name, {}).values())


@dataclass(frozen=True, slots=True)
class Change:
    """What happened from one scrape to the next.

    A counter that fell began anew in between (its process was restarted) and counts from zero.
    """

    before: Scrape
    now: Scrape

    @property
    def seconds(self) -> float:
        """Time between the two."""
        return max(self.now.at - self.before.at, 1e-9)

    def grown_by(self, name: str, *labels: str) -> Groups:
        """By how much a name's counters grew, grouped by labels."""
        return _grouped(self._grown(name), labels)

    def rates_by(self, name: str, *labels: str) -> Groups:
        """Growth a second, grouped by labels."""
        return {key: grown / self.seconds for key, grown in self.grown_by(name, *labels).items()}

    def quantiles_by(
        self, name: str, shares: Sequence[float], *labels: str
    ) -> dict[tuple[str, ...], list[float]]:
        """Seconds that these shares of a histogram stayed under, grouped by labels.

        Those between the two scrapes count. Groups without any are left out. The upper bounds of
        their buckets are given, so up to 2.5 times too much.
        """
        below: dict[tuple[str, ...], dict[float, float]] = {}
        for (*key, bound), grown in self.grown_by(f"{name}_bucket", *labels, "le").items():
            below.setdefault(tuple(key), {})[float(bound)] = grown
        return {
            key: [_quantile(counts, share) for share in shares]
            for key, counts in below.items()
            if counts.get(inf, 0.0) > 0
        }

    def _grown(self, name: str) -> Iterator[tuple[_Labels, float]]:
        before = self.before.samples.get(name, {})
        for labels, value in self.now.samples.get(name, {}).items():
            yield labels, _growth(before.get(labels, 0.0), value)


def _grouped(samples: Iterable[tuple[_Labels, float]], labels: Sequence[str]) -> Groups:
    groups: Groups = {}
    for found, value in samples:
        by_name = dict(found)
        key = tuple(by_name.get(label, "") for label in labels)
        groups[key] = groups.get(key, 0.0) + value
    return groups


def _quantile(below: Mapping[float, float], share: float) -> float:
    """The first bound under which so many of the durations are; they are counted up to it."""
    total = below[inf]
    return next((bound for bound in sorted(below) if below[bound] >= share * total), inf)


def _growth(before: float, now: float) -> float:
    return now - before if now >= before else now


def metrics_url(text: str) -> str:
    """The address of a metrics page: ``host:9464`` is enough.

    Raises:
        UsageError: It is no address of the web.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
    except ValueError:  # half a bracket
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{redact(text)}: expected the URL of a metrics page, e.g. "
            "http://127.0.0.1:9464/metrics, found another kind of address; give one"
        )
    path = parts.path if parts.path.strip("/") else "/metrics"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def scrape(url: str) -> Scrape:
    """Look at a metrics page once.

    Raises:
        Unreachable: Nothing answers there, or not with padflow's metrics.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            text = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError, HTTPException) as error:  # the last: no HTTP, or no address
        why = getattr(error, "reason", None) or error
        raise Unreachable(
            f"{redact(url)}: expected a padflow run that serves metrics, found none ({why}); start "
            "one with padflow run --metrics-port 9464, or give its URL"
        ) from error
    try:
        samples = _parsed(text)
    except (ValueError, KeyError, IndexError):
        samples = {}
    if not samples:
        raise Unreachable(
            f"{redact(url)}: expected the metrics of a padflow run, found a page of something "
            "else; give the URL that padflow run --metrics-port told"
        )
    return Scrape(time.monotonic(), samples)


def _parsed(text: str) -> dict[str, dict[_Labels, float]]:
    samples: dict[str, dict[_Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                labels = dict(sample.labels)
                if "actor" in labels:
                    labels["kind"] = re.sub(r"-\d+$", "", labels["actor"])
                named = samples.setdefault(sample.name.removeprefix(PREFIX), {})
                named[frozenset(labels.items())] = sample.value
    return samples
