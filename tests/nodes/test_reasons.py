"""Reason codes: each is told by a node, and the page that integrators read names it."""

import re
from pathlib import Path

from padflow.nodes.evidence import Reason

ROOT = Path(__file__).parents[2]


def test_every_code_is_told_somewhere() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py")]
    told = set(re.findall(r"\bReason\.([A-Z_]+)", " ".join(sources)))
    assert told == set(Reason.__members__)


def test_every_code_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "EVENTS.md").read_text(encoding="utf-8")
    paragraphs = [part for part in text.split("\n\n") if part.startswith("Reasons of ")]
    assert len(paragraphs) == 2
    listed = "".join(paragraphs)
    documented = set(re.findall(r"`([a-z_]+)`", listed))
    assert documented == {reason.value for reason in Reason}
