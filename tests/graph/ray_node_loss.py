"""A node of a Ray cluster is lost under a run: prints what became of the streams, as JSON.

A program of its own, since a process is in one cluster at a time.
"""

import json
import time
from typing import Any

import ray
from ray.cluster_utils import Cluster

from padflow.graph.node import StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.ray_run import RayOptions, RayRun
from padflow.graph.testing import chain

STREAMS = 4
PACKETS = 800


def main() -> None:
    """Two nodes, a worker on each; the second node goes."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    node = cluster.add_node(num_cpus=1)
    cluster.connect(namespace="padflow")
    seen: list[tuple[float, Packet]] = []
    taps = {"n1.out": lambda packet: seen.append((time.monotonic(), packet))}
    options = RayOptions(workers=2)
    with RayRun(chain(2), "lossless", taps=taps, ray_options=options) as run:
        for number in range(STREAMS):
            options_of = {"count": PACKETS, "delay": 0.01}
            run.add_stream(StreamSpec(f"s{number}", "", options_of))
        while len(seen) < 20 * STREAMS:
            time.sleep(0.05)
        before = dict(run.placement())
        cluster.remove_node(node, allow_graceful=False)
        lost_at = time.monotonic()
        finished = run.wait(90)
        reasons = {name: stream.reason for name, stream in run.streams().items()}
        notices = [notice.message for notice in run.notices()]
    print(json.dumps(told(seen, before, lost_at, finished, reasons, notices)))
    ray.shutdown()
    cluster.shutdown()


def told(
    seen: list[tuple[float, Packet]],
    before: dict[str, tuple[str, str]],
    lost_at: float,
    finished: bool,
    reasons: dict[str, str],
    notices: list[str],
) -> dict[str, Any]:
    """What a test wants to know."""
    streams: dict[str, Any] = {}
    for name, (worker, _) in before.items():
        own = [(at, packet) for at, packet in seen if packet.stream == name]
        again = [at for at, packet in own if packet.epoch > 0]
        epochs = [packet.epoch for _, packet in own]
        streams[name] = {
            "worker": worker,
            "epochs": sorted(set(epochs)),
            "in_order": epochs == sorted(epochs),
            "packets": len(own),
            "back_after": min(again) - lost_at if again else None,
        }
    return {"finished": finished, "reasons": reasons, "streams": streams, "notices": notices}


if __name__ == "__main__":
    main()
