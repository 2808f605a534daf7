"""How a run is spread over the machine, and its limits."""

from dataclasses import dataclass

from .errors import GraphDefinitionError


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is spread over the machine, and its limits."""

    threads: int = 1
    """Replicas of the stages that see whole streams; every stream stays with one of them."""
    workers: int | None = None
    """Worker processes; 0 runs everything in this one. None: 0 for up to three streams (of those
    added before ``start``), else one for each processor that may be used. A script that uses
    workers must start its run under ``if __name__ == "__main__":``."""
    fuse: bool = True
    """False runs every node as a stage of its own."""
    lane_capacity: int = 16
    """Packets that wait per stream before a stage, where a full lane makes its producer wait."""
    entry_capacity: int = 10
    """Realtime: packets that wait per stream behind a source, where the oldest is dropped: 0.4 s of
    frames at 25 a second, so that a burst delays and does not drop."""
    max_staleness: float = 1.0
    """Realtime: seconds since its source handed it over after which a packet is not used."""
    max_faults_in_a_row: int = 10
    """So often may a node raise, without one success between, before the run fails."""
    stop_timeout: float = 10.0
    """Seconds within which a stop is over, one way or the other."""

    def __post_init__(self) -> None:
        least = {
            "threads": 1,
            "lane_capacity": 1,
            "entry_capacity": 1,
            "max_faults_in_a_row": 1,
            "workers": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise GraphDefinitionError(
                    f"run options, {name}: expected at least {bound}, found {value}; give more"
                )
        for name in ("max_staleness", "stop_timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise GraphDefinitionError(
                    f"run options, {name}: expected seconds above 0, found {value}; give more"
                )
