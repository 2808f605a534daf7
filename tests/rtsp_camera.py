"""A camera to connect to: a small RTSP server that sends H.264 over RTP, on TCP or UDP.

Made for tests of what cameras do wrong: it can fall silent, die, come back, lose packets, ask for
a password, and (rightly) tell the time by RTCP. Speaks what RFC 2326 and RFC 6184 need for one
video stream; every client gets the same endless loop of frames, from the next keyframe on.
"""

import base64
import contextlib
import random
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np

_MTU = 1400
_NTP_EPOCH = 2_208_988_800
_CLOCK = 90_000


def encode_h264(
    frames: Sequence[np.ndarray], fps: float, keyframe_every: int = 12
) -> list[list[bytes]]:
    """The NAL units of every frame (uint8 RGB of equal shapes), without B pictures, as cameras do.

    Parameter sets stand before every keyframe.
    """
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.height, codec.width = frames[0].shape[:2]
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, round(fps * 1000)) * 1000
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "bf": "0",
        "g": str(keyframe_every),
        "x264-params": "repeat-headers=1:scenecut=0:annexb=1:sliced-threads=0:threads=1",
    }
    units = []
    for index, image in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
        picture.pts = index
        units += [_split(bytes(packet)) for packet in codec.encode(picture)]
    units += [_split(bytes(packet)) for packet in codec.encode(None)]
    return units


def _split(annex_b: bytes) -> list[bytes]:
    parts = annex_b.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


def moving_picture(count: int, width: int = 320, height: int = 240) -> list[np.ndarray]:
    """Frames that differ from one another, uint8 RGB (height, width, 3)."""
    rng = np.random.default_rng(7)
    base = np.kron(rng.integers(0, 255, (height // 8 + 8, width // 8 + 16, 3)), np.ones((8, 8, 1)))
    frames = []
    for index in range(count):
        x, y = index * 2 % 128, index % 64
        frames.append(base[y : y + height, x : x + width].astype(np.uint8))
    return frames


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)
    playing: bool = False
    joined: bool = False
    """Whether it has had a keyframe."""
    channel: int = 0
    udp: tuple[socket.socket, tuple[str, int]] | None = None
    session: str = field(default_factory=lambda: secrets.token_hex(4))
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    sequence: int = 0
    packets: int = 0
    octets: int = 0


class RtspCamera:
    """A loopback camera. Use it as a context manager.

    Args:
        frames: uint8 RGB pictures of equal shape, played in an endless loop.
        fps: Frames per second delivered.
        user: Asked for by Basic authentication where not empty.
        password: Goes with ``user``.
        port: TCP port; 0 takes a free one, which a restart keeps.
        loss: Share of RTP packets that get lost, 0 to 1.
        damage: Share of RTP packets that random bytes are written into, 0 to 1.
        clock: Offset in seconds of the camera's wall clock as told by RTCP; None tells no time.
    """

    def __init__(
        self,
        frames: Sequence[np.ndarray],
        fps: float = 25.0,
        *,
        user: str = "",
        password: str = "",
        port: int = 0,
        loss: float = 0.0,
        damage: float = 0.0,
        clock: float | None = None,
    ) -> None:
        self.units = encode_h264(frames, fps)
        self.fps = fps
        """May be changed while it plays; below one a second only keyframes are sent."""
        self.loss = loss
        self.damage = damage
        self.clock = clock
        self.connections = 0
        """Clients that were allowed to play, over all restarts."""
        self.frames_sent = 0
        """Frames sent to any client, over all restarts."""
        self._credentials = (user, password)
        self._port = port
        self._silent = threading.Event()
        self._dice = random.Random(3)
        self._clients: list[_Client] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its address, with credentials where it asks for them."""
        user, password = self._credentials
        login = f"{user}:{password}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self._port}/stream"

    def start(self) -> None:
        """Listen and play."""
        self._stop = threading.Event()
        self._silent.clear()
        self._listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._listener.getsockname()[1]
        self._spawn(self._accept)
        self._spawn(self._play)

    def stop(self) -> None:
        """Die without a word, as a camera does that loses its power."""
        self._stop.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for client in list(self._clients):
            self._drop(client)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def restart(self, off: float = 0.0) -> None:
        """Die, stay off for some seconds, and come back at the same address."""
        self.stop()
        time.sleep(off)
        self.start()

    def silence(self) -> None:
        """Send no more pictures; connections and sessions stay."""
        self._silent.set()

    def speak(self) -> None:
        """Send pictures again."""
        self._silent.clear()

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            client = _Client(connection)
            self._clients.append(client)
            self._spawn(self._serve, client)

    def _drop(self, client: _Client) -> None:
        with contextlib.suppress(ValueError):  # Another thread may have dropped it already.
            self._clients.remove(client)
        with contextlib.suppress(OSError):
            client.connection.shutdown(socket.SHUT_RDWR)
        client.connection.close()
        if client.udp is not None:
            client.udp[0].close()

    def _serve(self, client: _Client) -> None:
        pending = b""
        try:
            while not self._stop.is_set():
                received = client.connection.recv(65536)
                if not received:
                    break
                pending = self._answer_all(client, pending + received)
        except OSError:
            pass
        finally:
            self._drop(client)

    def _answer_all(self, client: _Client, data: bytes) -> bytes:
        """Answer every whole request; returns what is left."""
        while data:
            if data[0] == 0x24:  # RTCP of the client, interleaved
                if len(data) < 4 or len(data) < 4 + struct.unpack(">H", data[2:4])[0]:
                    return data
                data = data[4 + struct.unpack(">H", data[2:4])[0] :]
                continue
            head, mark, rest = data.partition(b"\r\n\r\n")
            if not mark:
                return data
            lines = head.decode("latin-1").split("\r\n")
            headers = {
                k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])
            }
            data = rest[int(headers.get("content-length", "0")) :]
            answer = self._answer(client, lines[0].split()[0], headers)
            with client.lock:
                client.connection.sendall(answer)
                client.playing |= lines[0].startswith("PLAY") and b" 200 " in answer
        return b""

    def _answer(self, client: _Client, method: str, headers: dict[str, str]) -> bytes:
        sequence = headers.get("cseq", "0")
        if method != "OPTIONS" and not self._allowed(headers):
            return _reply(sequence, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
        if method == "OPTIONS":
            return _reply(sequence, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        if method == "DESCRIBE":
            base = f"Content-Base: rtsp://127.0.0.1:{self._port}/stream/"
            return _reply(sequence, "200 OK", base, body=self._description())
        session = f"Session: {client.session};timeout=60"
        if method == "SETUP":
            transport = self._set_up(client, headers["transport"])
            return _reply(sequence, "200 OK", session, f"Transport: {transport}")
        if method == "PLAY":
            self.connections += 1
        return _reply(sequence, "200 OK", session)

    def _allowed(self, headers: dict[str, str]) -> bool:
        user, password = self._credentials
        if not user:
            return True
        expected = base64.b64encode(f"{user}:{password}".encode()).decode()
        return headers.get("authorization") == f"Basic {expected}"

    def _description(self) -> str:
        sps = next(u for u in self.units[0] if u[0] & 31 == 7)
        pps = next(u for u in self.units[0] if u[0] & 31 == 8)
        sets = ",".join(base64.b64encode(unit).decode() for unit in (sps, pps))
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
            "m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;profile-level-id={sps[1:4].hex()};"
            f"sprop-parameter-sets={sets}\r\na=control:track0\r\n"
        )

    def _set_up(self, client: _Client, transport: str) -> str:
        if "RTP/AVP/TCP" in transport:
            client.channel = int(transport.partition("interleaved=")[2].partition("-")[0] or 0)
            pair = f"{client.channel}-{client.channel + 1}"
            return f"RTP/AVP/TCP;unicast;interleaved={pair};ssrc={client.ssrc:08X}"
        port = int(transport.partition("client_port=")[2].partition("-")[0])
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("127.0.0.1", 0))
        client.udp = (sender, ("127.0.0.1", port))
        own = sender.getsockname()[1]
        return (
            f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={own}-{own + 1};"
            f"ssrc={client.ssrc:08X}"
        )

    def _play(self) -> None:
        """Send every frame at its time to every client that plays."""
        began = time.monotonic()
        number, due = 0, 0.0
        while not self._stop.is_set():
            units = self.units[number % len(self.units)]
            keyframe = any(unit[0] & 31 == 5 for unit in units)
            stamp = round(due * _CLOCK) + 123_456
            number += 1
            if self.fps < 1 and not keyframe:
                continue  # A picture that follows none that was sent could not be decoded.
            if not self._silent.is_set():
                for client in list(self._clients):
                    self._send_frame(client, units, stamp, keyframe)
            due += 1 / self.fps
            self._stop.wait(max(0.0, began + due - time.monotonic()))

    def _send_frame(self, client: _Client, units: list[bytes], stamp: int, keyframe: bool) -> None:
        if not client.playing or not (client.joined or keyframe):
            return
        try:
            with client.lock:
                if self.clock is not None and (keyframe or not client.joined):
                    self._send(client, _sender_report(client, stamp, time.time() + self.clock), 1)
                for index, unit in enumerate(units):
                    self._send_unit(client, unit, stamp, last=index == len(units) - 1)
            client.joined = True
            self.frames_sent += 1
        except OSError:
            self._drop(client)

    def _send_unit(self, client: _Client, unit: bytes, stamp: int, last: bool) -> None:
        if len(unit) <= _MTU:
            self._send_rtp(client, unit, stamp, last)
            return
        head, body = unit[0], unit[1:]
        for start in range(0, len(body), _MTU):
            part = body[start : start + _MTU]
            final = start + _MTU >= len(body)
            flags = (0x80 if start == 0 else 0) | (0x40 if final else 0) | (head & 31)
            fragment = bytes(((head & 0xE0) | 28, flags)) + part
            self._send_rtp(client, fragment, stamp, last and final)

    def _send_rtp(self, client: _Client, payload: bytes, stamp: int, marker: bool) -> None:
        header = struct.pack(
            ">BBHII",
            0x80,
            96 | (0x80 if marker else 0),
            client.sequence & 0xFFFF,
            stamp & 0xFFFFFFFF,
            client.ssrc,
        )
        client.sequence += 1
        if self._dice.random() < self.loss:
            return
        if self.damage and self._dice.random() < self.damage:
            payload = self._damaged(payload)
        client.packets += 1
        client.octets += len(payload)
        self._send(client, header + payload, 0)

    def _damaged(self, payload: bytes) -> bytes:
        """With random bytes at random places."""
        wrong = bytearray(payload)
        for _ in range(1 + len(wrong) // 100):
            wrong[self._dice.randrange(len(wrong))] = self._dice.randrange(256)
        return bytes(wrong)

    def _send(self, client: _Client, data: bytes, offset: int) -> None:
        if client.udp is not None:
            sender, (host, port) = client.udp
            sender.sendto(data, (host, port + offset))
            return
        try:
            ready = select.select([], [client.connection], [], 2.0)[1]
        except ValueError as error:  # its number is -1
            raise OSError("another thread has closed the connection") from error
        if not ready:
            raise OSError("the client reads no more")
        client.connection.sendall(
            struct.pack(">BBH", 0x24, client.channel + offset, len(data)) + data
        )


def _sender_report(client: _Client, stamp: int, wall: float) -> bytes:
    seconds = int(wall) + _NTP_EPOCH
    fraction = int((wall % 1) * 2**32)
    return struct.pack(
        ">BBHIIIIII",
        0x80,
        200,
        6,
        client.ssrc,
        seconds & 0xFFFFFFFF,
        fraction,
        stamp & 0xFFFFFFFF,
        client.packets & 0xFFFFFFFF,
        client.octets & 0xFFFFFFFF,
    )


def _reply(sequence: str, status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence}", *headers]
    if body:
        lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")
