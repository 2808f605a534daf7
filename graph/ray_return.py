"""What comes back to the driver of a run on Ray: packets for sinks and taps, ends, wills."""

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from math import inf

from .host import Host, HostSetting, LinkExit
from .metrics import RunMetrics
from .node import StreamSpec
from .outlet import Lane
from .packet import End, Packet
from .plan import Plan, topological
from .state import ExportedStates, StateRef
from .wills import Wills


class Return:
    """Sinks and taps of a run, and the wills of what may be lost on its way to them.

    Which links of a stream have ended is kept by whoever calls, since it belongs to the stream's
    incarnation.
    """

    def __init__(
        self,
        plan: Plan,
        setting: HostSetting,
        left: Callable[[int, str, int], None],
        ended: Callable[[str], None],
    ) -> None:
        """Make the sinks; nothing is opened yet.

        Args:
            plan: Stages and links.
            setting: Of the run.
            left: Told link, stream and number of packets that a sink took.
            ended: Told each stream that has ended on all sinks.
        """
        self._plan = plan
        self._taps = setting.taps
        self._wills = Wills([spec.name for spec in topological(plan.graph)])
        self._places = {i: (link.producer, link.output) for i, link in enumerate(plan.links)}
        self._links: dict[int, LinkExit] = {}
        self._sinks: Host | None = None
        single = [stage for stage in plan.stages if stage.scope == "single"]
        if not single:
            return

        def over(name: str, reason: str, packets: int) -> None:
            ended(name)

        within = replace(setting, taps={}, stream_ended=over, left=left)
        self._sinks = Host(plan, single, within)
        names = {stage.name for stage in single}
        self._links = {
            index: self._sinks.link_exit(link)
            for index, link in enumerate(plan.links)
            if link.stage in names
        }

    @property
    def has_sinks(self) -> bool:
        """Whether streams end here too."""
        return self._sinks is not None

    def start(self) -> None:
        """Open the sinks.

        Raises:
            NodeFailed: A node could not be opened.
        """
        if self._sinks is not None:
            self._sinks.start()

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None) -> None:
        """Let the sinks begin a stream."""
        if self._sinks is not None:
            self._sinks.add_stream(spec, states)

    def take(self, lane: Lane, packets: list[Packet], ends: int, floor: float) -> bool:
        """Hand packets to their sink or tap; True if they have left their lane with that."""
        if isinstance(lane.target, int):
            self._wills.note(self._places[lane.target], packets)
            self._links[lane.target].send(lane.stream, packets, ends, floor)
            return False
        self._wills.note(lane.target, packets)
        self._taps[lane.target].send(lane.stream, packets, ends, floor)
        return True

    def end(self, target: int, packet: Packet, floor: float) -> None:
        """The end of a stream on a link to a sink."""
        self._links[target].end(packet.stream, packet, floor)

    def advance(self, lane: Lane, mark: float) -> None:
        """A mark on a link to a sink."""
        if isinstance(lane.target, int):
            self._links[lane.target].advance(lane.stream, mark)

    def open_wills(self, stream: str, reason: str, ended: Collection[int]) -> None:
        """Say, for sinks and taps, what a lost process can no longer say of a stream."""
        for place, packet in self._wills.open(stream, reason):
            for index, link in self._links.items():
                if self._places[index] == place and index not in ended:
                    link.send(stream, [packet], 0, -inf)
            tap = self._taps.get(place)
            if tap is not None:
                tap.send(stream, [packet], 0, -inf)

    def end_from(self, stages: Collection[str], last: Packet, ended: set[int]) -> None:
        """End, for the sinks, all links from stages that were lost; ``last`` has the reason."""
        for index, link in self._links.items():
            producer = self._plan.stage_of[self._plan.links[index].producer].name
            if producer in stages and index not in ended:
                ended.add(index)
                link.end(last.stream, last, -inf)

    def forget(self, stream: str) -> None:
        """The stream has ended as it should."""
        self._wills.forget(stream)

    def metrics(self) -> RunMetrics:
        """Counters of the sinks."""
        return RunMetrics({}, {}, {}, 0) if self._sinks is None else self._sinks.metrics()

    def export_states(self) -> dict[StateRef, bytes]:
        """Keyed states of the sinks."""
        return {} if self._sinks is None else self._sinks.export_states()

    def release(self) -> None:
        """Let nobody wait for room any longer."""
        if self._sinks is not None:
            self._sinks.release()

    def shutdown(self, deadline: float) -> list[str]:
        """Close the sinks; gives what did not stop."""
        return [] if self._sinks is None else self._sinks.shutdown(deadline)


def last_packet(stream: str, seconds: float, epoch: int, reason: str) -> Packet:
    """The end of a stream that nobody is left to end."""
    return Packet(stream, seconds, epoch, None, End(reason), time.monotonic())
