"""The Ray runtime: the same graph as actors, on this machine or on a cluster."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .errors import GraphError, Refused
from .host import HostSetting
from .metrics import Notice, RunMetrics
from .node import Mode, StreamSpec
from .options import RunOptions
from .ray_actor import DRIVER, PAUSED, Load
from .ray_join import import_ray, join
from .ray_options import RayOptions, lay_out
from .run import Crew, GraphRun, Tap
from .schema import unknown_name
from .spec import Graph

__all__ = ["RayOptions", "RayRun"]


class RayRun(GraphRun):
    """One run of a graph on Ray; see :class:`GraphRun`.

    Sinks (nodes of scope ``single``) and taps run in the process that made the run; of the streams'
    packets only those that a sink or tap takes come back to it. Lost actors are replaced and their
    streams go on in a new epoch: see :mod:`padflow.graph.ray_crew`.
    """

    def __init__(
        self,
        graph: Graph,
        mode: Mode = "lossless",
        options: RunOptions | None = None,
        taps: Mapping[str, Tap] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        ray_options: RayOptions | None = None,
    ) -> None:
        """As :class:`GraphRun`, with how to spread it over the cluster."""
        super().__init__(graph, mode, options, taps, on_notice)
        self.ray_options = ray_options or RayOptions(workers=self.options.workers or None)
        self._paused: dict[str, StreamSpec] = {}
        self._specs: dict[str, StreamSpec] = {}
        self._ours = False
        """Ray was started here and is stopped here."""

    def start(self) -> None:
        """Start or join Ray, check that the plan fits, make the actors.

        Raises:
            GraphError: Ray is not installed or not there, or the cluster has no room.
            NodeFailed: A node could not be opened.
        """
        try:
            super().start()
        except BaseException:
            self._leave()
            raise

    def _make_crew(self, setting: HostSetting, streams: int) -> Crew:
        self._ours = join(self.ray_options.address)
        ray = import_ray()
        machines = sum(bool(node["Alive"]) for node in ray.nodes())
        free = ray.available_resources()
        layout = lay_out(self.plan, self.ray_options, free, self.mode, machines)
        from .ray_crew import RayCrew

        return RayCrew(self.plan, setting, self.ray_options, layout)

    def stop(self, drain: bool = True) -> None:
        """See :class:`GraphRun`; Ray is stopped too if it was started here."""
        try:
            super().stop(drain)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._ours:
            self._ours = False
            import_ray().shutdown()

    def add_stream(self, spec: StreamSpec) -> None:
        """See :class:`GraphRun`.

        Raises:
            GraphError: Also where all workers are full.
        """
        super().add_stream(spec)
        self._specs[spec.name] = spec

    def _stream_ended(self, name: str, reason: str, packets: int) -> None:
        self._specs.pop(name, None)
        super()._stream_ended(name, reason, packets)

    def pause_stream(self, name: str) -> None:
        """End a stream (reason ``paused``) and keep what it is, for :meth:`resume_stream`.

        Raises:
            GraphError: No such stream runs.
        """
        spec = self._specs.get(name)
        self.remove_stream(name, PAUSED)
        if spec is None:
            raise Refused(f"stream '{name}': expected it to run, found that it has just ended")
        self._paused[name] = spec

    def resume_stream(self, name: str) -> None:
        """Begin a paused stream again, in a new epoch.

        Raises:
            GraphError: No such stream is paused.
        """
        spec = self._paused.get(name)
        if spec is None:
            raise Refused(f"paused stream: {unknown_name(name, list(self._paused))}")
        with self._changed:
            # What it gave before it was paused may still be worked off.
            self._changed.wait_for(lambda: name not in self._running, self.options.stop_timeout)
            self._raise_failure()
        epoch, key = self._ray_crew().take_paused(name)
        spec = replace(
            spec,
            epoch=max(epoch, spec.epoch) + 1,
            first_key=max(key + 1, spec.first_key),
            taken_up=PAUSED,
        )
        del self._paused[name]
        try:
            self.add_stream(spec)
        except BaseException:
            self._paused[name] = spec  # Kept with its numbers: there may be no room for it now.
            raise

    def forget_paused(self, name: str) -> bool:
        """Give a paused stream up; False where none of this name is paused."""
        if self._crew is not None:
            self._ray_crew().take_paused(name)
        return self._paused.pop(name, None) is not None

    def losses(self) -> int:
        """Actors lost so far."""
        lost: int = self._ray_crew().losses
        return lost

    def paused(self) -> tuple[str, ...]:
        """Names of the streams that are paused, or are to be when what they gave is worked off."""
        return tuple(self._paused)

    def actor_metrics(self) -> dict[str, RunMetrics]:
        """Counters by actor: ``worker-0``, ``engine-0``, ``driver``."""
        metrics: dict[str, RunMetrics] = self._ray_crew().actor_metrics()
        metrics[DRIVER] = replace(metrics[DRIVER], notices=self._notice_count)
        return metrics

    def loads(self) -> dict[str, Load]:
        """What the process of each actor uses."""
        loads: dict[str, Load] = self._ray_crew().loads()
        return loads

    def placement(self) -> Mapping[str, tuple[str, str]]:
        """Worker and engine actor by stream."""
        placement: Mapping[str, tuple[str, str]] = self._ray_crew().placement()
        return placement

    def _ray_crew(self) -> Any:
        if self._crew is None:
            raise GraphError("expected a started run, found one that is not; call start() first")
        return self._crew
