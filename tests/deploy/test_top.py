"""``padflow top`` against a real metrics server: what it shows, and what it survives."""

import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.deploy.cli import main
from padflow.deploy.event_tally import EventTally
from padflow.deploy.exits import UsageError
from padflow.deploy.prometheus import MetricsServer, RunCollector
from padflow.deploy.scraping import Change, Scrape, metrics_url, scrape
from padflow.graph.metrics import EdgeMetrics, NodeCounters, RunMetrics, StreamMetrics
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.nodes.capture import SOURCE_EVENT
from padflow.nodes.payloads import Event

PATIENCE = 20.0


class Fake:
    """Actors whose counters a test moves."""

    def __init__(self) -> None:
        self.tally = EventTally()
        self.counters = {f"worker-{n}": NodeCounters() for n in range(2)}
        self.packets = {"slow": 0, "fast": 0}
        self.collector = RunCollector("door", self.tally)
        self.collector.follow(self.actors, Graph.build("g"))

    def work(self, calls: int, seconds: float) -> None:
        for counters in self.counters.values():
            for _ in range(calls):
                counters.calls += 1
                counters.packets_in += 4
                counters.called(seconds, seconds, 2 * seconds)
        self.packets["fast"] += calls

    def restart(self) -> None:
        self.counters = {name: NodeCounters() for name in self.counters}

    def actors(self) -> Mapping[str, RunMetrics]:
        edges = {"capture.frames->net.frames": EdgeMetrics(9, 4, {"oldest": 2}, 3)}
        streams = {name: StreamMetrics(count) for name, count in self.packets.items()}
        return {
            name: RunMetrics({"net": counters.snapshot(7)}, edges, streams, 0)
            for name, counters in self.counters.items()
        }


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def server(fake: Fake) -> Iterator[MetricsServer]:
    with MetricsServer(fake.collector, 0) as serving:
        yield serving


def test_what_happened_between_two_looks(fake: Fake, server: MetricsServer) -> None:
    fake.work(1000, 5.0)
    before = scrape(server.url)
    fake.work(10, 0.015)
    change = Change(before, scrape(server.url))
    assert change.grown_by("node_calls_total", "kind", "node") == {("worker", "net"): 20}
    assert change.grown_by("node_packets_in_total") == {(): 80}
    rate = change.rates_by("node_calls_total", "actor")[("worker-0",)]
    assert rate == pytest.approx(10 / change.seconds)
    (quantiles,) = change.quantiles_by("node_latency_seconds", (0.5, 0.99), "node").values()
    assert quantiles == pytest.approx([0.01995, 0.01995], rel=0.01), "what was before is not in it"
    assert change.now.by("edge_queue_packets", "kind") == {("worker",): 6}


def test_a_restarted_process_counts_from_zero(fake: Fake, server: MetricsServer) -> None:
    fake.work(1000, 5.0)
    before = scrape(server.url)
    fake.restart()
    fake.work(3, 0.001)
    change = Change(before, scrape(server.url))
    assert change.grown_by("node_calls_total", "node") == {("net",): 6}
    (quantiles,) = change.quantiles_by("node_latency_seconds", (0.99,), "node").values()
    assert quantiles[0] < 0.01
    assert min(change.rates_by("node_packets_in_total", "actor").values()) > 0


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=20))
def test_no_rate_is_below_zero(values: list[tuple[int, int]]) -> None:
    before, now = (
        Scrape(at, {"x": {frozenset({("n", str(i))}): pair[at] for i, pair in enumerate(values)}})
        for at in (0, 1)
    )
    rates = Change(before, now).rates_by("x", "n")
    assert len(rates) == len(values)
    assert all(rate >= 0 for rate in rates.values())


def test_once_prints_a_table_and_ends(
    fake: Fake, server: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.tally.take(Packet("fast", 0, 0, None, Event(SOURCE_EVENT, "", {"state": "connected"})))
    fake.tally.take(Packet("fast", 0, 0, None, Event(SOURCE_EVENT, "", {"state": "connected"})))
    assert main(["top", server.url.removesuffix("/metrics"), "--once", "--period", "0.2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert rows[0][:3] == ["padflow", "door:", "2"]
    (slow,) = [row for row in rows if row[0] == "slow"]
    (fast,) = [row for row in rows if row[0] == "fast"]
    assert slow[2:4] == ["silent", "0.0"]
    assert fast[4:6] == ["0", "1"], "drops, reconnects"
    (stage,) = [row for row in rows if "net" in row]
    assert stage[:3] == ["worker", "x2", "net"]
    assert stage[-3:] == ["6", "14", "0"], "queue, states, resets"
    (drops,) = [row for row in rows if "oldest" in row]
    assert drops == ["capture.frames->net.frames", "oldest", "0.0", "4"]


def test_more_streams_than_lines_are_told(
    fake: Fake, server: MetricsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.packets = {f"s{n:03}": n for n in range(100)}
    assert main(["top", server.url, "--once", "--period", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "and 80 more" in out
    assert "s019" in out
    assert "s020" not in out


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://user:secret@127.0.0.1:1/metrics"])
def test_nothing_there_is_one_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", url, "--once"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "127.0.0.1:1/metrics" in line
    assert "--metrics-port" in line
    assert "secret" not in line


def test_another_page_is_not_taken_for_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics").write_text("<html>{nothing of ours</html>")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        assert other.stdout is not None
        port = other.stdout.readline().split("port ")[1].split()[0]
        try:
            assert main(["top", f"127.0.0.1:{port}", "--once"]) == 2
        finally:
            other.kill()
    (line,) = capsys.readouterr().err.splitlines()
    assert "something else" in line


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1/a b"])
def test_what_is_no_port_or_path_is_told_in_a_sentence(address: str) -> None:
    with pytest.raises(UsageError, match="expected a padflow run that serves metrics"):
        scrape(metrics_url(address))


def test_a_server_of_another_protocol_is_told_in_a_sentence() -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=greet)
        server.start()
        try:
            with pytest.raises(UsageError, match=r"found none \(SSH-2.0"):
                scrape(metrics_url(f"127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            server.join()


@pytest.mark.parametrize(
    "text", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "", "http://[::1"]
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected the URL of a metrics page"):
        metrics_url(text)


def test_addresses_are_completed() -> None:
    assert metrics_url("door:9464") == "http://door:9464/metrics"
    assert metrics_url("https://door/") == "https://door/metrics"
    assert metrics_url("http://door/padflow/metrics") == "http://door/padflow/metrics"


class Screen:
    """A terminal of 40 lines, and what was written to it."""

    def __init__(self, command: list[str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        os.set_blocking(self.master, False)

    def wait_for(self, words: str) -> bool:
        """Whether these words are written from now on."""
        seen = b""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                seen += os.read(self.master, 1 << 16)
            except BlockingIOError:
                time.sleep(0.02)
            if words.encode() in seen:
                return True
        return False

    def close(self) -> None:
        """End what runs and give the terminal back."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_the_live_view_survives_a_restart_of_its_target(fake: Fake) -> None:
    server = MetricsServer(fake.collector, 0)
    command = [sys.executable, "-m", "padflow.deploy.cli", "top", server.url, "--period", "0.1"]
    screen = Screen(command)
    try:
        assert screen.wait_for("2 streams running")
        server.close()
        assert screen.wait_for("no answer, trying again")
        fake.restart()
        fake.work(1, 0.01)
        server = MetricsServer(fake.collector, server.port)
        assert screen.wait_for("2 streams running")
        screen.process.send_signal(signal.SIGINT)
        assert screen.process.wait(PATIENCE) == 0
    finally:
        screen.close()
        server.close()
