"""Recorded evidence of made-up presentations, for tests of what is learned from it."""

from dataclasses import dataclass, field

import numpy as np

from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence
from padflow.nodes.testing import face_observation
from padflow.trainers.evidence import Presentation, Recorded

STEP = 0.2
SPECIES = ("print", "screen", "mask")


@dataclass
class Cue:
    """A cue whose ratio is ``mean`` for live and ``-mean`` for attacks, and how it errs."""

    mean: float = 1.5
    lasting: float = 0.0
    """Standard deviation of an error that is the same throughout a presentation."""
    passing: float = 1.0
    """Standard deviation of an error that is another at every look."""
    missing: float = 0.0
    """Share of looks without a value."""


@dataclass
class World:
    """What is recorded."""

    cues: dict[str, Cue] = field(default_factory=lambda: {"context": Cue()})
    people: int = 4
    clips: int = 4
    """Of each person and species, live among them."""
    seconds: float = 4.0
    seed: int = 0


def recordings(world: World) -> list[Recorded]:
    """Every person live and in every species."""
    rng = np.random.default_rng(world.seed)
    made = []
    for person in range(world.people):
        for species in ("live", *SPECIES):
            for clip in range(world.clips):
                made.append(_one(rng, world, f"P{person}", species, clip))
    return made


def _one(rng: np.random.Generator, world: World, person: str, species: str, clip: int) -> Recorded:
    live = species == "live"
    presentation = Presentation(
        item=f"{species}/{person}-{clip}.mp4",
        dataset="made",
        live=live,
        species=species,
        instrument="" if live else f"{species}:kind",
        person=person,
        camera=f"camera-{rng.integers(8)}",
        medium="" if live else f"medium-{rng.integers(8)}",
    )
    lasting = {name: rng.normal(0, cue.lasting) for name, cue in world.cues.items()}
    packets = []
    for look in range(round(world.seconds / STEP)):
        time = look * STEP
        for name, cue in world.cues.items():
            ratio = (cue.mean if live else -cue.mean) + lasting[name] + rng.normal(0, cue.passing)
            told = Evidence(name, (time, time), float(ratio))
            if rng.random() < cue.missing:
                told = Evidence(name, (time, time), None, ("blurred",))
            packets.append(Packet("recording", time, 0, 1, told))
        packets.append(Packet("recording", time, 0, 1, face_observation()))
    return Recorded(presentation, {}, {1: tuple(packets)})
