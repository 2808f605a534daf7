"""Capture of live sources on loopback: connect, die, fall silent, come back, keep secrets."""

import functools
import http.server
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pytest

from tests.nodes.clips import Captured, capture, write_clip
from tests.rtsp_camera import RtspCamera, moving_picture

USER, PASSWORD = "Adm1n", "hunter2"
FRAMES = moving_picture(48)
QUICK: dict[str, Any] = {"retry_min": 0.1, "retry_max": 0.4}


def watch(
    uri: str, until: Callable[[Captured], bool], limit: float = 40.0, **params: Any
) -> Captured:
    """Capture in realtime mode until something is true; fails after ``limit`` seconds."""
    cancel = threading.Event()
    timer = threading.Timer(limit, cancel.set)
    timer.start()
    try:
        for result in capture(uri, mode="realtime", cancel=cancel, **params):
            if until(result):
                return result
        if cancel.is_set():
            pytest.fail(f"not seen in {limit} s; events: {result.events}")
        return result
    finally:
        timer.cancel()
        timer.join()


def assert_in_order(result: Captured) -> None:
    times, epochs = result.times, result.epochs
    assert times == sorted(times)
    assert epochs == sorted(epochs)
    assert [f.index for f in result.frames] == list(range(len(result.frames)))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_gives_its_pictures_in_its_own_time(transport: str) -> None:
    with RtspCamera(FRAMES, 25) as camera:
        result = watch(camera.url, lambda r: len(r.frames) >= 60, transport=transport)
    assert_in_order(result)
    assert result.states == ["connected"]
    event = result.events[0]
    assert (event["width"], event["height"], event["codec"]) == (320, 240, "h264")
    steps = np.diff(result.times[5:])
    assert median(steps) == pytest.approx(0.04, abs=1e-3)
    assert set(result.epochs) == {0}
    assert not any(f.corrupt for f in result.frames)
    assert {f.clock for f in result.frames} == {"arrival"}
    assert all(abs((f.utc or 0) - time.time()) < 10 for f in result.frames)
    ages = [time.monotonic() - p.arrival for p in result.packets[-3:]]
    assert max(ages) < 1


def test_the_cameras_own_wall_clock_is_taken_from_rtcp() -> None:
    with RtspCamera(FRAMES, 25, clock=-2.0) as camera:
        result = watch(camera.url, lambda r: len(r.frames) >= 40)
    last = result.frames[-1]
    assert last.clock == "ntp"
    assert (last.utc or 0) - time.time() == pytest.approx(-2.0, abs=0.5)
    assert not result.notices


@pytest.mark.parametrize(
    ("off", "told"), [(3000.0, "s ahead of"), (-60.0, "s behind"), (-1e6, "s behind")]
)
def test_a_wall_clock_that_is_off_dates_nothing_and_is_told_once(off: float, told: str) -> None:
    with RtspCamera(FRAMES, 25, clock=off) as camera:
        result = watch(camera.url, lambda r: len(r.frames) >= 40)
    assert {f.clock for f in result.frames} == {"arrival"}
    assert all(abs((f.utc or 0) - time.time()) < 10 for f in result.frames)
    (notice,) = result.notices
    assert told in notice


def test_an_outage_and_its_end_are_told_once_however_many_attempts_it_takes() -> None:
    camera = RtspCamera(FRAMES, 25, user=USER, password=PASSWORD)
    camera.start()
    cancel = threading.Event()
    limit = threading.Timer(40, cancel.set)
    limit.start()
    down = False
    try:
        for result in capture(camera.url, mode="realtime", cancel=cancel, **QUICK):
            if not down and len(result.frames) == 10:
                camera.stop()
                down = True
            elif down and result.states.count("lost") == 3 and result.states[-1] == "lost":
                camera.start()
            elif result.states.count("connected") == 2:
                break
    finally:
        limit.cancel()
        limit.join()
        camera.stop()
    outage, end = result.notices
    assert "is lost: " in outage
    assert "connected after" in end
    assert PASSWORD not in outage


def test_a_camera_that_dies_and_comes_back_is_seen_every_time() -> None:
    kills = 5
    with RtspCamera(FRAMES, 25) as camera:
        seen = 0
        done = threading.Event()

        def kill_and_revive() -> None:
            for number in range(kills):
                while seen <= number and not done.wait(0.02):
                    pass
                camera.restart(off=0.2)

        killer = threading.Thread(target=kill_and_revive)
        killer.start()
        fds, threads = [], []
        epochs_seen: set[int] = set()
        cancel = threading.Event()
        limit = threading.Timer(50, cancel.set)
        limit.start()
        for result in capture(camera.url, mode="realtime", cancel=cancel, **QUICK):
            if result.frames and result.epochs[-1] not in epochs_seen:
                epochs_seen.add(result.epochs[-1])
                fds.append(len(os.listdir("/proc/self/fd")))
                threads.append(threading.active_count())
                seen += 1
            if len(epochs_seen) > kills:
                break
        limit.cancel()
        done.set()
        killer.join()
        limit.join()
    assert_in_order(result)
    assert epochs_seen == set(range(kills + 1))
    assert result.states.count("connected") == kills + 1
    assert result.states.count("lost") >= kills
    assert max(fds) - min(fds) <= 3
    assert max(threads) - min(threads) <= 3, "the camera's own threads come and go too"
    resumed = [e for e in result.events if e["state"] == "connected"][1:]
    assert {e["reason"] for e in resumed} == {"reconnect"}


def test_a_silent_camera_is_found_and_taken_again() -> None:
    with RtspCamera(FRAMES, 25) as camera:
        cancel = threading.Event()
        limit = threading.Timer(60, cancel.set)
        limit.start()
        silent_at = found_after = 0.0
        for result in capture(camera.url, mode="realtime", cancel=cancel, **QUICK):
            if len(result.frames) == 20 and not silent_at:
                camera.silence()
                silent_at = time.monotonic()
            if "stalled" in result.states and not found_after:
                found_after = time.monotonic() - silent_at
                camera.speak()
            if found_after and result.epochs[-1] == 1:
                break
        limit.cancel()
        limit.join()
    assert 3.5 < found_after < 20.0  # 4 s, and what a busy machine adds
    assert result.states[:3] == ["connected", "stalled", "connected"]
    assert result.epochs[-1] == 1
    first_again = result.epochs.index(1)
    assert result.times[first_again] - result.times[first_again - 1] > 3.5


@contextmanager
def mute_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_never_answers_is_found_too(scheme: str) -> None:
    with mute_server() as port:
        began = time.monotonic()
        result = watch(f"{scheme}://127.0.0.1:{port}/x", lambda r: bool(r.events))
        assert time.monotonic() - began < 20  # 4 s, and what a busy machine adds
    assert result.states == ["stalled"]


def test_cancel_is_heard_within_a_second_even_where_nothing_answers() -> None:
    with mute_server() as port:
        cancel = threading.Event()
        timer = threading.Timer(0.5, cancel.set)
        timer.start()
        began = time.monotonic()
        for _ in capture(f"rtsp://127.0.0.1:{port}/x", mode="realtime", cancel=cancel, timeout=2.5):
            pass
        assert time.monotonic() - began < 2.0
        timer.join()


def test_waits_grow_and_the_last_attempt_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/x"
    result = watch(
        url,
        lambda r: False,
        max_attempts=4,
        retry_min=0.1,
        retry_max=0.3,
        retry_jitter=0.0,
    )
    assert result.states == ["lost", "lost", "lost", "error"]
    assert [e["retry_in_s"] for e in result.events[:3]] == [0.1, 0.2, 0.3]
    assert [e["attempt"] for e in result.events] == [1, 2, 3, 4]
    assert "refused" in result.events[0]["reason"].lower()


def test_jitter_spreads_the_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = watch(
        f"rtsp://127.0.0.1:{port}/x",
        lambda r: len(r.events) >= 6,
        retry_min=0.05,
        retry_max=0.05,
        retry_jitter=0.9,
    )
    waits = {e["retry_in_s"] for e in result.events}
    assert len(waits) > 2
    assert all(0.0 <= wait <= 0.1 for wait in waits)


def test_credentials_appear_nowhere(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspCamera(FRAMES, 25, user=USER, password=PASSWORD) as camera:
        good = watch(f"{camera.url}?token=s3cr3t", lambda r: len(r.frames) >= 5)
        assert camera.connections == 1
        wrong = camera.url.replace(PASSWORD, "wrongpass")
        bad = watch(wrong, lambda r: bool(r.events), retry_max=20.0)
        camera.stop()
        gone = watch(camera.url, lambda r: bool(r.events))
    assert bad.states == ["lost"]
    assert "nauthorized" in bad.events[0]["reason"]
    assert bad.events[0]["retry_in_s"] > 10, "cameras lock out who asks too often"
    told = [*good.events, *bad.events, *gone.events, good.notices, bad.notices, caplog.text]
    told += capfd.readouterr()
    for secret in (USER, PASSWORD, "s3cr3t", "wrongpass"):
        assert secret not in str(told)
    assert "127.0.0.1" in str(good.events)


def test_lost_packets_mark_the_pictures_they_spoil() -> None:
    with RtspCamera(FRAMES, 25, loss=0.03) as camera:
        result = watch(camera.url, lambda r: len(r.frames) >= 75, transport="udp")
    assert any(f.corrupt for f in result.frames)
    assert any(not f.corrupt for f in result.frames)


class _Mjpeg(http.server.BaseHTTPRequestHandler):
    """What cheap cameras do: one JPEG after another, at a rate they never tell."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for image in FRAMES:
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return
            time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web_server(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_mjpeg_over_http_takes_its_times_from_arrival() -> None:
    with web_server(_Mjpeg) as url:
        result = watch(f"{url}/video.mjpg", lambda r: len(r.frames) >= 30)
    assert_in_order(result)
    assert result.events[0]["codec"] == "mjpeg"
    assert {f.media_time for f in result.frames} == {None}
    assert median(np.diff(result.times[10:])) == pytest.approx(0.1, rel=0.6)


def test_a_video_on_a_web_server_ends_and_is_not_asked_for_again(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", range(0, 1000, 40))
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with web_server(handler) as url:
        result = watch(f"{url}/clip.mkv", lambda r: False)
    assert result.states == ["connected", "ended"]
    assert len(result.frames) == 25


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_missing_video_device_is_lost_and_waited_for() -> None:
    result = watch("/dev/video97", lambda r: len(r.events) >= 2, **QUICK)
    assert set(result.states) == {"lost"}
