"""Batches between two processes by a socket of their own.

Ray makes the processes, places them, tells of their deaths and introduces them to each other; what
they say to each other all the time goes past it, at a fifth to a tenth of the processor time of a
call (``padflow bench transport``). A connection is proved by a secret that only the actors of one
run have, before anything that came in is read as a batch; what travels is not encrypted, as with
Ray itself.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)

from .outlet import Batch
from .wire import pack_whole, unpack

Address = tuple[str, int]
"""Host and port."""

CONNECT_TIMEOUT = 5.0
"""Seconds that a peer has to answer whoever connects, and whoever connects to prove who it is."""
_RETRY = 0.05
"""Seconds until the next try where a connection could not be taken."""


class Office:
    """Takes in what peers send: a thread that accepts, and one for each connection."""

    def __init__(
        self,
        host: str,
        secret: bytes,
        receive: Callable[[str, Batch], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Listen on any free port of a host.

        Args:
            host: Its address.
            secret: What proves a peer.
            receive: Gets each sender's name and batch.
            failed: Told what went wrong in reading a batch or in receiving it.
        """
        self._secret = secret
        self._receive = receive
        self._failed = failed
        self._listener = Listener((host, 0), family="AF_INET")
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._readers: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._accept, name="padflow post", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self._listener.address
        return str(host), int(port)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                # Out of descriptors, or the peer left at once; others may still come.
                time.sleep(_RETRY)
                continue
            reader = threading.Thread(
                target=self._read, args=(connection,), name="padflow post reader", daemon=True
            )
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._open.add(connection)
                self._readers.add(reader)
                # In a thread of its own: a stranger who says nothing must not hold up the others.
                reader.start()

    def _read(self, connection: Connection) -> None:
        try:
            # Strangers who say nothing must not pile up, each with a thread and a descriptor.
            _limit_reading(connection, CONNECT_TIMEOUT)
            deliver_challenge(connection, self._secret)
            answer_challenge(connection, self._secret)
            sender = connection.recv_bytes(1024).decode()
            _limit_reading(connection, 0.0)
            while True:
                self._hand_on(sender, connection.recv_bytes())
        except (EOFError, OSError, AuthenticationError, ValueError):
            return  # The peer closed, died, or was none of ours: the driver knows what it means.
        finally:
            with self._lock:
                connection.close()
                self._open.discard(connection)
                self._readers.discard(threading.current_thread())

    def _hand_on(self, sender: str, data: bytes) -> None:
        try:
            self._receive(sender, unpack([data]))
        except Exception as error:
            # Not the peer's end: to hang up would have it, or us, taken for lost.
            self._failed(error)

    def close(self) -> None:
        """End all threads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            readers = list(self._readers)
            for connection in self._open:
                hang_up(connection)
        with suppress(OSError), socket.create_connection(self.address, 1.0):
            pass  # Wakes whoever accepts.
        self._listener.close()
        for thread in (self._thread, *readers):
            thread.join(1.0)


class Line:
    """A connection to one peer's office. Another thread than the one that sends may close it."""

    def __init__(self, address: Address, secret: bytes, name: str) -> None:
        """Connect and say who calls.

        Raises:
            OSError, EOFError, AuthenticationError: Nobody is there, or not one of ours; also
                TimeoutError.
        """
        self._connection = _connected(address, secret)
        self._connection.send_bytes(name.encode())
        self._sending = threading.Lock()
        self._closing = threading.Lock()

    def send(self, batch: Batch) -> None:
        """Send a batch; waits while the way is full.

        Raises:
            GraphError: A payload does not pickle.
            OSError: The peer is gone.
        """
        data = pack_whole(batch)
        with self._sending:
            self._connection.send_bytes(data)

    def close(self) -> None:
        """Hang up; whoever sends gets an error."""
        with self._closing:
            hang_up(self._connection)
            with self._sending:
                self._connection.close()


def _connected(address: Address, secret: bytes) -> Connection:
    """A connection to an office, each proved to the other.

    Raises:
        TimeoutError: Nobody answers, as behind a firewall or where a process is frozen.
        OSError, EOFError, AuthenticationError: Nobody is there, or not one of ours.
    """
    try:
        connected = socket.create_connection(address, CONNECT_TIMEOUT)
        connected.settimeout(None)
        connection = Connection(connected.detach())
        try:
            _limit_reading(connection, CONNECT_TIMEOUT)  # A line reads nothing after this.
            answer_challenge(connection, secret)
            deliver_challenge(connection, secret)
        except BaseException:
            connection.close()
            raise
    except (TimeoutError, BlockingIOError) as error:
        raise TimeoutError(
            f"peer at {address[0]}:{address[1]}: expected an answer within {CONNECT_TIMEOUT:g} s, "
            "found none; see whether the nodes of the cluster reach each other on all ports, or "
            "let batches go as calls of Ray (RayOptions, transport='calls')"
        ) from error
    return connection


def _limit_reading(connection: Connection, seconds: float) -> None:
    """Let the kernel end a read that takes longer (0: however long it takes)."""
    whole, part = divmod(seconds, 1.0)
    limit = struct.pack("@ll", int(whole), int(part * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def hang_up(connection: Connection) -> None:
    """End a connection so that a thread that reads or writes it wakes.

    Its descriptor stays until that thread is done with it: it may be another file's by then.
    """
    with (
        suppress(OSError, ValueError),
        socket.socket(fileno=os.dup(connection.fileno())) as shared,
    ):
        shared.shutdown(socket.SHUT_RDWR)
