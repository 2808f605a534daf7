"""The table of cues counts what went through a graph; no test asserts how fast a machine is."""

from pathlib import Path

import av
import numpy as np
import pytest

from padflow.deploy.bench_cues import graph_cost
from padflow.deploy.exits import UsageError
from padflow.nodes.frame import Frame
from padflow.nodes.video import VideoFile


def test_looks_and_evidence_are_counted(live_clip: Path) -> None:
    cost = graph_cost(live_clip, "every_cue")

    assert cost.faces == pytest.approx(5.0, abs=0.5)
    depth, motion, life = (cost.nodes[name] for name in ("depth_net", "motion_depth", "life"))
    assert depth.taken == depth.told == pytest.approx(3.6, abs=0.6)  # 5 for 2 s, then 2.5
    assert motion.taken == depth.taken
    assert 0 < motion.valued <= motion.told
    assert life.taken == pytest.approx(25.0, abs=2.0)
    assert life.told == pytest.approx(1.0, abs=0.4)
    assert cost.nodes["fuse"].told == 0
    assert all(node.cpu > 0 for node in cost.nodes.values())


def test_a_clip_without_a_face_is_refused(tmp_path: Path, compiled: None) -> None:
    path = tmp_path / "grey.mp4"
    frame = Frame(av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), "rgb24"), 0)
    video = VideoFile(path, frame, "libx264", 23)
    for index in range(10):
        video.write(video.blank(frame), index / 25)
    video.close()
    with pytest.raises(UsageError, match="expected a face"):
        graph_cost(path, "default")
