"""What a scrape of a run says: the run's own counters, under names that Prometheus takes."""

import re
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from padflow.deploy.cli import main
from padflow.deploy.event_tally import EventTally
from padflow.deploy.exits import UsageError
from padflow.deploy.prometheus import MetricsServer, RunCollector, by_actor
from padflow.deploy.session import RunRequest, running
from padflow.graph.metrics import (
    DURATION_BOUNDS,
    DurationHistogram,
    EdgeMetrics,
    NodeMetrics,
    ProcessMetrics,
    RunMetrics,
    StreamMetrics,
)
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import wait_until
from padflow.nodes.capture import SOURCE_EVENT
from padflow.nodes.decide import VERDICT
from padflow.nodes.payloads import Event

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parsed(answer.read().decode())


def said(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset({"graph": "door", **labels}.items())]


def collected(actors: Mapping[str, RunMetrics], tally: EventTally | None = None) -> Samples:
    collector = RunCollector("door", tally or EventTally())
    collector.follow(lambda: actors, Graph.build("g"))
    registry = CollectorRegistry()
    registry.register(collector)
    return parsed(generate_latest(registry).decode())


def verdict(stream: str, state: str, final: bool, llrs: Mapping[str, float | None]) -> Packet:
    evidence: list[dict[str, Any]] = [{"cue": cue, "llr": llr} for cue, llr in llrs.items()]
    data = {"state": state, "final": final, "reasons": ["evidence_weak"], "evidence": evidence}
    return Packet(stream, 0.0, 0, 1, Event(VERDICT, "track/1", data))


def source(stream: str, state: str) -> Packet:
    return Packet(stream, 0.0, 0, None, Event(SOURCE_EVENT, "", {"state": state}))


def test_a_scrape_says_what_the_run_counted(live_clip: Path) -> None:
    tally = EventTally()
    collector = RunCollector("door", tally)
    request = RunRequest((str(live_clip),), options=RunOptions(workers=0))
    with MetricsServer(collector, 0) as server:
        assert said(scraped(server.url), "padflow_up") == 1, "before the run there is an answer"
        with running(request, tally.take) as run:
            collector.follow(by_actor(run), run.plan.graph)
            assert wait_until(lambda: "live" in run.streams())
            during = scraped(server.url)
            run.wait()
            samples, metrics = scraped(server.url), run.metrics()
    assert said(during, "padflow_streams_running") == 1
    assert said(during, "padflow_stream_packets_total", actor="local", stream="live") >= 0
    for name, node in metrics.nodes.items():
        where = {"actor": "local", "node": name}
        assert said(samples, "padflow_node_packets_in_total", **where) == node.packets_in
        assert said(samples, "padflow_node_packets_out_total", **where) == node.packets_out
        assert said(samples, "padflow_node_calls_total", **where) == node.calls
        if node.age.total:
            assert said(samples, "padflow_node_frame_age_seconds_count", **where) == node.calls
        if name != "capture":
            counted = said(samples, "padflow_node_latency_seconds_count", **where)
            took = said(samples, "padflow_node_latency_seconds_sum", **where)
            assert counted == node.calls
            assert took == pytest.approx(node.busy)
    for name, edge in metrics.edges.items():
        where = {"actor": "local", "edge": name}
        assert said(samples, "padflow_edge_packets_in_total", **where) == edge.packets_in
        assert said(samples, "padflow_edge_queue_packets", **where) == 0
    decided = said(samples, "padflow_verdict_frame_age_seconds_count", actor="local")
    assert decided == metrics.nodes["decide"].calls
    assert said(samples, "padflow_streams_running") == 0
    assert said(samples, "padflow_streams_ended", reason="end") == 1
    counts = tally.read()
    assert sum(counts.tracks.values()) == 1
    for state, count in counts.verdicts.items():
        assert said(samples, "padflow_verdicts_total", state=state) == count
    assert said(samples, "padflow_source_events_total", state="connected") == 1
    assert said(samples, "padflow_process_threads", actor="local") >= 1
    assert said(samples, "padflow_process_resident_memory_bytes", actor="local") > 1e7


counts = st.integers(0, 1_000_000)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
reasons = st.dictionaries(words, counts, max_size=3)
histograms = st.builds(
    DurationHistogram,
    st.lists(counts, min_size=len(DURATION_BOUNDS) + 1, max_size=len(DURATION_BOUNDS) + 1).map(
        tuple
    ),
    st.floats(0, 1e6),
)
nodes = st.builds(
    NodeMetrics,
    packets_in=counts,
    packets_out=counts,
    dropped=reasons,
    calls=counts,
    states=counts,
    resets=reasons,
    age=histograms,
    latency=histograms,
)
edges = st.builds(EdgeMetrics, packets_in=counts, dropped=reasons, depth=counts)
streams = st.builds(
    StreamMetrics,
    counts,
    st.sampled_from(("running", "ended")),
    st.sampled_from(("end", "error")),
    dropped=reasons,
)
processes = st.none() | st.builds(ProcessMetrics, counts, counts, counts)
runs = st.builds(
    RunMetrics,
    st.dictionaries(words, nodes, max_size=2),
    st.dictionaries(words.map(lambda w: w + ".a->b.c"), edges, max_size=2),
    st.dictionaries(words, streams, max_size=4),
    counts,
    processes,
)


@settings(max_examples=30)
@given(st.dictionaries(words, runs, max_size=3), st.sets(words, max_size=3))
def test_names_are_valid_and_ended_streams_vanish(
    actors: Mapping[str, RunMetrics], told_of: set[str]
) -> None:
    tally = EventTally()
    for name in told_of:
        tally.take(source(name, "connected"))
        tally.take(verdict(name, "LIVE", True, {"depth": 1.0}))
    samples = collected(actors, tally)
    running = {
        name
        for metrics in actors.values()
        for name, stream in metrics.streams.items()
        if stream.state == "running"
    }
    for name, labels in samples:
        assert re.fullmatch(r"padflow_[a-z_]+", name)
        for label, value in labels:
            assert re.fullmatch(r"[a-z_]+", label)
            if label == "stream":
                assert value in running
    assert said(samples, "padflow_streams_running") == len(running)
    if told_of:
        assert said(samples, "padflow_tracks_total", state="LIVE") == len(told_of)


@given(histograms)
def test_buckets_are_cumulative_and_lose_nothing(histogram: DurationHistogram) -> None:
    metrics = RunMetrics({"n": NodeMetrics(latency=histogram)}, {}, {}, 0)
    samples = collected({"a": metrics})
    found = {
        float(dict(labels)["le"]): value
        for (name, labels), value in samples.items()
        if name == "padflow_node_latency_seconds_bucket"
    }
    total = sum(histogram.counts)
    values = [found[bound] for bound in sorted(found)]
    assert values == sorted(values)
    assert values[-1:] == ([total] if total else [])
    for bound in sorted(found)[:-1]:
        below = sum(
            c for b, c in zip(DURATION_BOUNDS, histogram.counts, strict=False) if b <= bound * 1.01
        )
        assert found[bound] == below


def test_a_run_of_actors_is_told_by_actor_and_with_its_driver() -> None:
    class Run:
        def metrics(self) -> RunMetrics:
            raise AssertionError("its actors are asked")

        def actor_metrics(self) -> Mapping[str, RunMetrics]:
            return {"worker-0": RunMetrics({"n": NodeMetrics(calls=3)}, {}, {}, 2)}

    samples = collected(by_actor(Run())())
    assert said(samples, "padflow_node_calls_total", actor="worker-0", node="n") == 3
    assert said(samples, "padflow_notices_total", actor="worker-0") == 2
    assert said(samples, "padflow_process_threads", actor="driver") >= 1
    assert not any(
        name == "padflow_process_threads" and ("actor", "worker-0") in labels
        for name, labels in samples
    ), "nobody looked at the worker's process"


def test_a_stream_that_moved_is_told_where_it_runs() -> None:
    gone = RunMetrics({}, {}, {"s": StreamMetrics(5, "ended", "moved")}, 0)
    here = RunMetrics({}, {}, {"s": StreamMetrics(3, "running")}, 0)
    for actors in ({"a": gone, "b": here}, {"b": here, "a": gone}):
        samples = collected(actors)
        assert said(samples, "padflow_streams_running") == 1
        assert said(samples, "padflow_stream_packets_total", actor="b", stream="s") == 3


def test_an_engine_does_not_hide_the_worker_that_has_the_source() -> None:
    worker = RunMetrics({}, {}, {"s": StreamMetrics(3, dropped={"oldest": 2})}, 0)
    engine = RunMetrics({}, {}, {"s": StreamMetrics(0)}, 0)
    for actors in ({"a": worker, "b": engine}, {"b": engine, "a": worker}):
        samples = collected(actors)
        assert said(samples, "padflow_stream_packets_total", actor="a", stream="s") == 3
        where = {"actor": "a", "stream": "s", "reason": "oldest"}
        assert said(samples, "padflow_stream_dropped_packets_total", **where) == 2


def test_events_are_counted_by_what_they_say() -> None:
    tally = EventTally()
    for state in ("connected", "lost", "connected", "stalled", "connected"):
        tally.take(source("s", state))
    tally.take(verdict("s", "UNDECIDED", False, {}))
    tally.take(verdict("s", "SPOOF", True, {"depth": -2.0, "patch": 0.5, "life": None}))
    samples = collected({"a": RunMetrics({}, {}, {"s": StreamMetrics()}, 0)}, tally)
    assert said(samples, "padflow_stream_reconnects_total", stream="s") == 2
    assert said(samples, "padflow_stream_source_events_total", stream="s", state="lost") == 1
    assert said(samples, "padflow_verdicts_total", state="UNDECIDED") == 1
    assert said(samples, "padflow_tracks_total", state="SPOOF") == 1
    assert said(samples, "padflow_stream_tracks_total", stream="s", state="SPOOF") == 1
    assert said(samples, "padflow_track_reasons_total", state="SPOOF", reason="evidence_weak") == 1
    for cue, told in (("depth", "attack"), ("patch", "live"), ("life", "nothing")):
        where = {"state": "SPOOF", "cue": cue, "spoke_for": told}
        assert said(samples, "padflow_track_cues_total", **where) == 1


def test_what_is_remembered_of_streams_is_bounded() -> None:
    tally = EventTally(kept_streams=10)
    for number in range(1000):
        tally.take(source(f"s{number}", "connected"))
    counts = tally.read()
    assert list(counts.streams) == [f"s{number}" for number in range(990, 1000)]
    assert counts.sources["connected"] == 1000


def test_a_run_that_cannot_be_asked_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Mapping[str, RunMetrics]:
        raise ConnectionError("the cluster is gone")

    tally = EventTally()
    tally.take(source("s", "connected"))
    collector = RunCollector("door", tally)
    collector.follow(fails, Graph.build("g"))
    with MetricsServer(collector, 0) as server:
        samples = scraped(server.url)
    assert said(samples, "padflow_up") == 0
    assert said(samples, "padflow_source_events_total", state="connected") == 1
    assert "the cluster is gone" in caplog.text


def test_a_closed_server_gives_its_port_back() -> None:
    collector = RunCollector("door", EventTally())
    server = MetricsServer(collector, 0)
    server.close()
    server.close()
    with MetricsServer(collector, server.port) as again:
        assert again.port == server.port


def test_an_address_that_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="--metrics-address"):
        MetricsServer(RunCollector("door", EventTally()), 0, "203.0.113.1")


@pytest.mark.parametrize("port", [None, 70_000, -1])
def test_a_port_that_cannot_be_had_is_wrong_use(
    port: Any, print_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tried = taken.getsockname()[1] if port is None else port
        words = ["run", str(print_clip), "--quiet", "--workers", "0", "--metrics-port", str(tried)]
        assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"padflow run: --metrics-port {tried}: ")


def test_the_command_line_serves_metrics_while_it_runs(
    print_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(print_clip), "--workers", "0", "--metrics-port", "0"]) == 0
    err = capsys.readouterr().err
    (port,) = re.findall(r"metrics: http://127\.0\.0\.1:(\d+)/metrics", err)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
