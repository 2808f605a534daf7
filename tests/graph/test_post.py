"""Sockets between actors: proved, in order, and never in anybody's way."""

import socket
import threading
from collections.abc import Iterator
from multiprocessing import AuthenticationError

import pytest

from padflow.graph.outlet import Batch
from padflow.graph.post import Line, Office
from padflow.graph.testing import wait_until

SECRET = b"s" * 32
Received = list[tuple[str, Batch]]


@pytest.fixture
def received() -> Received:
    return []


@pytest.fixture
def office(received: Received) -> Iterator[Office]:
    made = Office("127.0.0.1", SECRET, lambda sender, batch: received.append((sender, batch)))
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


def test_a_closed_office_ends_its_threads_and_refuses(received: Received) -> None:
    before = threading.active_count()
    office = Office("127.0.0.1", SECRET, lambda sender, batch: received.append((sender, batch)))
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
