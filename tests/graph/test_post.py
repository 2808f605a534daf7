"""Sockets between actors: proved, in order, and never in anybody's way."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import AuthenticationError
from typing import Any

import pytest

from padflow.graph import post
from padflow.graph.outlet import Batch
from padflow.graph.post import Line, Office
from padflow.graph.testing import wait_until

SECRET = b"s" * 32
Received = list[tuple[str, Batch]]


@pytest.fixture
def received() -> Received:
    return []


def open_office(
    receive: Callable[[str, Batch], None], failed: Callable[[Exception], None] = print
) -> Office:
    return Office("127.0.0.1", SECRET, receive, failed)


def into(received: Received) -> Callable[[str, Batch], None]:
    return lambda sender, batch: received.append((sender, batch))


@pytest.fixture
def office(received: Received) -> Iterator[Office]:
    made = open_office(into(received))
    yield made
    made.close()


def test_batches_come_in_order_under_the_name_of_their_sender(
    office: Office, received: Received
) -> None:
    line = Line(office.address, SECRET, "worker-0")
    for number in range(50):
        line.send(Batch([("notice", number)]))
    assert wait_until(lambda: len(received) == 50)
    line.close()
    assert {sender for sender, _ in received} == {"worker-0"}
    assert [batch.messages[0][1] for _, batch in received] == list(range(50))


def test_whoever_has_another_secret_is_not_heard(office: Office, received: Received) -> None:
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Line(office.address, b"x" * 32, "stranger").send(Batch([("notice", 1)]))
    line = Line(office.address, SECRET, "worker-0")
    line.send(Batch([("notice", 2)]))
    assert wait_until(lambda: len(received) == 1)
    line.close()
    assert received[0][0] == "worker-0"


def test_a_stranger_who_says_nothing_holds_nobody_up(office: Office, received: Received) -> None:
    with socket.create_connection(office.address):
        line = Line(office.address, SECRET, "worker-0")
        line.send(Batch([("notice", 1)]))
        assert wait_until(lambda: len(received) == 1)
        line.close()


def test_strangers_who_say_nothing_are_sent_away_and_peers_may_be_silent(
    received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "CONNECT_TIMEOUT", 2.0)
    office = open_office(into(received))
    line = Line(office.address, SECRET, "worker-0")
    strangers = [socket.create_connection(office.address) for _ in range(5)]
    for stranger in strangers:
        assert sent_away(stranger)
    assert wait_until(lambda: len(office._readers) == 1), "only the peer is left"
    for stranger in strangers:
        stranger.close()
    line.send(Batch([("notice", 1)]))
    assert wait_until(lambda: len(received) == 1), "silent for longer than a stranger may be"
    line.close()
    office.close()


def test_a_peer_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that is frozen: the kernel takes the connection, and nobody says a word."""
    monkeypatch.setattr(post, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"expected an answer within 0\.3 s, found none"):
            Line(frozen.getsockname(), SECRET, "worker-0")
    assert 0.2 < time.monotonic() - began < 5.0


def test_a_closed_office_ends_its_threads_and_refuses(received: Received) -> None:
    before = threading.active_count()
    office = open_office(into(received))
    line = Line(office.address, SECRET, "worker-0")
    office.close()
    office.close()
    assert wait_until(lambda: threading.active_count() == before)

    def is_refused() -> bool:
        try:
            line.send(Batch([("notice", "x" * 10_000)]))
        except OSError:
            return True
        return False

    assert wait_until(is_refused)
    line.close()


def test_a_closed_office_cannot_be_called() -> None:
    office = open_office(lambda sender, batch: None)
    address = office.address
    office.close()
    with pytest.raises(OSError, match="refused"):
        Line(address, SECRET, "worker-0")


def test_an_office_closes_though_a_stranger_says_nothing(received: Received) -> None:
    before = threading.active_count()
    office = open_office(into(received))
    with socket.create_connection(office.address):
        assert wait_until(lambda: threading.active_count() == before + 2)
        office.close()
        assert wait_until(lambda: threading.active_count() == before)


def test_a_stranger_that_talks_nonsense_is_not_heard(office: Office, received: Received) -> None:
    before = threading.active_count()
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\4oops", b"\xff" * 4096, b""):
        with socket.create_connection(office.address) as stranger:
            stranger.sendall(nonsense)
    assert wait_until(lambda: threading.active_count() == before)
    line = Line(office.address, SECRET, "worker-0")
    line.send(Batch([("notice", 1)]))
    assert wait_until(lambda: len(received) == 1)
    line.close()


def sent_away(stranger: socket.socket) -> bool:
    """Whether an office ends a connection on which it hears nothing."""
    stranger.settimeout(15.0)
    while stranger.recv(4096):
        pass
    return True


class Foreign:
    """Unpickles nowhere, as what comes from a package that only its sender has."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_a_batch_that_cannot_be_read_is_told_and_the_next_is_taken(received: Received) -> None:
    told: list[Exception] = []
    office = open_office(into(received), told.append)
    line = Line(office.address, SECRET, "worker-0")
    line.send(Batch([("notice", Foreign())]))
    line.send(Batch([("notice", 2)]))
    assert wait_until(lambda: len(received) == 1)
    line.close()
    office.close()
    assert received[0][1].messages == [("notice", 2)]
    assert len(told) == 1
    assert "packets of another process cannot be read (ValueError: invalid" in str(told[0])


def test_two_senders_are_told_apart(office: Office, received: Received) -> None:
    lines = [Line(office.address, SECRET, f"worker-{n}") for n in range(2)]
    for number in range(10):
        for line in lines:
            line.send(Batch([("notice", number)]))
    assert wait_until(lambda: len(received) == 20)
    for line in lines:
        line.close()
    for name in ("worker-0", "worker-1"):
        assert [b.messages[0][1] for sender, b in received if sender == name] == list(range(10))


def test_hanging_up_wakes_a_sender_whose_peer_does_not_read() -> None:
    reading = threading.Event()

    def receive(sender: str, batch: Batch) -> None:
        reading.wait(20.0)

    office = open_office(receive)
    line = Line(office.address, SECRET, "worker-0")
    sent: list[int] = []
    raised: list[BaseException] = []

    def send() -> None:
        try:
            while True:
                line.send(Batch([("notice", "x" * 1_000_000)]))
                sent.append(1)
        except OSError as error:
            raised.append(error)

    sender = threading.Thread(target=send)
    sender.start()

    def is_stuck() -> bool:
        so_far = len(sent)
        time.sleep(0.2)
        return len(sent) == so_far

    assert wait_until(is_stuck)
    assert sender.is_alive()
    line.close()
    sender.join(5.0)
    assert not sender.is_alive()
    reading.set()
    office.close()
    assert len(raised) == 1
    with pytest.raises(OSError, match="closed"):
        line.send(Batch([("notice", 1)]))
    line.close()


OUT_OF_FILES = """
import os, resource, socket, time
from padflow.graph import post
from padflow.graph.outlet import Batch
from padflow.graph.post import Line, Office
got = []
office = Office("127.0.0.1", b"s" * 32, lambda sender, batch: got.append(sender), print)
early = socket.socket()
free = os.dup(0)
os.close(free)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
early.connect(office.address)
time.sleep(0.2)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
line = Line(office.address, b"s" * 32, "worker-0")
line.send(Batch([("notice", 1)]))
deadline = time.monotonic() + 10
while not got and time.monotonic() < deadline:
    time.sleep(0.01)
print(got)
early.close(), line.close(), office.close()
"""


def test_an_office_that_was_out_of_files_goes_on() -> None:
    command = [sys.executable, "-c", OUT_OF_FILES]
    told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert told.stdout.strip() == "['worker-0']"
