"""The nodes that run appearance networks, with tiny real networks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.engines import BundleError, ModelMissing
from padflow.engines.bundle import CropRule
from padflow.graph.node import Node, NodeContext
from padflow.graph.packet import Packet
from padflow.graph.testing import NodeConformance, Sample
from padflow.nodes.appearance import AppearanceNode, AppearanceParams
from padflow.nodes.context_net import ContextNet
from padflow.nodes.crops import VIEW_SCALES
from padflow.nodes.depth_net import DepthNet
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.patch_net import PatchNet
from padflow.nodes.patches import Patches, PatchesParams
from padflow.nodes.payloads import DepthMap, FaceCrop, FacePatches, FaceViews, Quality
from tests.nodes.tiny_nets import CALIBRATION, SIDES, score_of, write_tiny_bundle

GOOD = Quality(
    size=120.0, sharpness=0.5, exposure=120.0, clipped=0.0, yaw=3.0, pitch=-4.0, roll=0.0,
    presence=0.99, occlusion=0.0, motion=0.1,
)  # fmt: skip
NETS: dict[str, type[AppearanceNode[Any]]] = {
    "depth": DepthNet, "patch": PatchNet, "context": ContextNet
}  # fmt: skip
SKIN = (180, 100, 90)
BLUE = (60, 90, 200)
GREEN = (100, 200, 100)
MESH = np.zeros((468, 3), np.float32)
EYE = np.eye(2, 3, dtype=np.float32)


def face(cue: str, color: tuple[int, int, int], quality: Quality = GOOD, count: int = 4) -> Any:
    """A face of one colour, with a little grain."""
    side = SIDES[cue]
    rng = np.random.default_rng(sum(color))
    image = np.clip(np.array(color) + rng.integers(-5, 6, (side, side, 1)), 0, 255).astype(np.uint8)
    if cue == "patch":
        return FacePatches(np.stack([image] * count), quality)
    if cue == "context":
        return FaceViews(np.stack([image] * len(VIEW_SCALES)), VIEW_SCALES, quality)
    return FaceCrop(image, EYE, MESH, 1.5, quality)


def packet(payload: Any, time: float = 0.0, stream: str = "door", key: int = 1) -> Packet:
    return Packet(stream, time, 0, key, payload, arrival=time)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    return {cue: str(write_tiny_bundle(folder / cue, cue)) for cue in NETS}


@pytest.fixture
def opened() -> Iterator[Callable[..., AppearanceNode[Any]]]:
    nodes: list[AppearanceNode[Any]] = []

    def make(cue: str, engine: str, mode: str = "realtime", **params: Any) -> AppearanceNode[Any]:
        node = NETS[cue](AppearanceParams(engine=engine, **params))
        node.open(NodeContext(f"{cue}_net", mode))  # type: ignore[arg-type]
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.close()


def judged(node: AppearanceNode[Any], *faces: Any) -> list[Evidence]:
    packets = [packet(one, time=float(i), key=i) for i, one in enumerate(faces)]
    out = node.process("faces", packets, ())["evidence"]
    assert [p.key for p in out] == list(range(len(faces)))
    return [p.payload for p in out]


@pytest.mark.parametrize("cue", NETS)
def test_a_score_becomes_a_calibrated_ratio(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str], cue: str
) -> None:
    node = opened(cue, bundles[cue])
    live, attack = judged(node, face(cue, SKIN), face(cue, BLUE))
    assert live.cue == cue
    assert live.window == (0.0, 0.0)
    assert attack.window == (1.0, 1.0)
    expected = CALIBRATION["slope"] * score_of(SKIN) + CALIBRATION["offset"]
    assert live.llr == pytest.approx(expected, abs=0.02)
    assert attack.llr == pytest.approx(2.0 * score_of(BLUE) + 0.5, abs=0.02)
    assert live.reasons == attack.reasons == ()
    assert live.details["score"] == pytest.approx(score_of(SKIN), abs=0.01)
    assert live.engine == cue
    assert len(live.engine_sha256) == 64


def test_the_ratio_stays_within_the_calibrated_limits(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str]
) -> None:
    node = opened("depth", bundles["depth"])
    high, low = judged(node, face("depth", (250, 50, 5)), face("depth", (5, 50, 250)))
    assert high.llr == CALIBRATION["max_llr"]
    assert low.llr == CALIBRATION["min_llr"]


@pytest.mark.usefixtures("models")
def test_a_network_of_natural_pictures_sees_all_patches_as_one() -> None:
    node = PatchNet(AppearanceParams(engine="patch_natural"))
    node.open(NodeContext("patch_net", "lossless"))
    try:
        four, one = judged(node, face("patch", SKIN), face("patch", SKIN, count=1))
        assert node.engine is not None
        images = np.concatenate([node.pictures(face("patch", SKIN, count=n)) for n in (4, 1)])
        scores = node.engine.infer({"image": images})["score"]
    finally:
        node.close()
    assert images.shape == (2, 1, 160, 160, 3)
    assert four.engine == "patch_natural"
    found = [said.details["score"] for said in (four, one)]
    np.testing.assert_allclose(found, scores, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("models")
def test_a_network_of_views_is_refused_for_patches(
    opened: Callable[..., AppearanceNode[Any]],
) -> None:
    node = opened("patch", "views")
    with pytest.raises(
        BundleError, match=r"takes a mosaic of patches, found .*1\.5, 2\.2, 4 times"
    ):
        judged(node, face("patch", SKIN))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 47.0}, Reason.FACE_TOO_SMALL),
        ({"sharpness": 0.0}, Reason.BLURRED),
        ({"exposure": 10.0}, Reason.TOO_DARK),
        ({"exposure": 250.0}, Reason.TOO_BRIGHT),
        ({"clipped": 0.9}, Reason.TOO_BRIGHT),
        ({"colour": 1.0}, Reason.NO_COLOUR),
        ({"inside": 0.8}, Reason.FACE_CUT_OFF),
        ({"below": 0.1}, Reason.FACE_AT_LOWER_EDGE),
        ({"below": -0.4}, Reason.FACE_AT_LOWER_EDGE),
        ({"yaw": -60.0}, Reason.FACE_NOT_FRONTAL),
        ({"pitch": 50.0}, Reason.FACE_NOT_FRONTAL),
        ({"occlusion": 0.8}, Reason.FACE_OCCLUDED),
        ({"size": float("nan")}, Reason.FACE_TOO_SMALL),
    ],
)
@pytest.mark.parametrize("cue", NETS)
def test_poor_pictures_give_no_value(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str], cue: str,
    change: dict[str, float], reason: Reason,
) -> None:  # fmt: skip
    poor = face(cue, SKIN, replace(GOOD, **change))
    before, bad, after = judged(opened(cue, bundles[cue]), face(cue, SKIN), poor, face(cue, BLUE))
    assert bad.llr is None
    assert bad.reasons == (reason.value,)
    assert before.llr is not None
    assert after.llr is not None
    assert before.llr > 0 > after.llr


@pytest.mark.parametrize("cue", NETS)
def test_a_face_unlike_the_training_gives_no_value(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str], cue: str
) -> None:
    strange, usual = judged(opened(cue, bundles[cue]), face(cue, GREEN), face(cue, SKIN))
    assert strange.llr is None
    assert strange.reasons == ("unlike_training",)
    assert strange.details["strangeness"] > 1
    assert usual.llr is not None


@pytest.mark.parametrize("cue", NETS)
def test_a_networks_nan_is_no_evidence(
    opened: Callable[..., AppearanceNode[Any]], tmp_path: Path, cue: str
) -> None:
    node = opened(cue, str(write_tiny_bundle(tmp_path / cue, cue, broken=True)))
    out = node.process("faces", [packet(face(cue, SKIN)), packet(face(cue, BLUE), key=2)], ())
    for given_out in out["evidence"]:
        assert given_out.payload.llr is None
        assert given_out.payload.reasons == ("not_a_number",)
        assert given_out.payload.details == {}
    assert not out.get("depth")


@pytest.mark.parametrize("cue", NETS)
def test_without_an_engine_the_cue_says_so(
    opened: Callable[..., AppearanceNode[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    cue: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path))
    monkeypatch.setattr("padflow.engines.bundle.SHIPPED", tmp_path / "none")
    told: list[str] = []
    node = NETS[cue](AppearanceParams())
    node.open(NodeContext(f"{cue}_net", "realtime", notice=told.append))
    assert told == [], "nothing is missed before there is a face"
    evidence, _ = judged(node, face(cue, SKIN), face(cue, BLUE))
    node.close()
    assert evidence.llr is None
    assert evidence.reasons == ("engine_missing",)
    assert evidence.engine == ""
    assert len(told) == 1
    assert cue in told[0]
    with pytest.raises(ModelMissing, match="my-door"):
        opened(cue, "my-door")


@pytest.mark.parametrize(
    ("calibration", "method", "told"),
    [
        (None, "logistic", "found none"),
        (CALIBRATION, "isotonic", "found 'isotonic'"),
        ({"slope": 1.0, "intercept": 0.0}, "logistic", "intercept"),
        ({**CALIBRATION, "slope": -1.0}, "logistic", "slope > 0"),
        ({**CALIBRATION, "max_llr": -1.0}, "logistic", "max_llr"),
    ],
)
def test_an_uncalibrated_bundle_is_refused(
    opened: Callable[..., AppearanceNode[Any]], tmp_path: Path,
    calibration: dict[str, float] | None, method: str, told: str,
) -> None:  # fmt: skip
    folder = write_tiny_bundle(tmp_path / "b", "context", calibration, method=method)
    with pytest.raises(BundleError, match=told):
        opened("context", str(folder))


def test_a_bundle_of_another_kind_is_refused(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str]
) -> None:
    with pytest.raises(BundleError, match="depth, score, strangeness"):
        opened("depth", bundles["context"])


def test_crops_of_another_scale_are_refused(
    opened: Callable[..., AppearanceNode[Any]], tmp_path: Path
) -> None:
    rule = CropRule(scale=2.7, size=256, alignment="eyes")
    node = opened("depth", str(write_tiny_bundle(tmp_path / "b", "depth", crop=rule)))
    with pytest.raises(BundleError, match=r"2\.7"):
        judged(node, face("depth", SKIN))


@pytest.mark.usefixtures("models")
def test_the_shipped_views_say_something_and_refuse_others(
    opened: Callable[..., AppearanceNode[Any]],
) -> None:
    node = opened("context", "")
    views = face("context", SKIN)
    (evidence,) = judged(node, views)
    assert set(evidence.details) == {"score", "strangeness"}
    with pytest.raises(
        BundleError, match=r"1\.5, 2\.2 and 4 times the face, found 1\.5, 2\.2 and 5"
    ):
        judged(node, replace(views, scales=(1.5, 2.2, 5.0)))
    with pytest.raises(BundleError, match=r"trained on 3 views .* found 2; get a bundle"):
        judged(node, replace(views, scales=(1.5, 4.0)))


@pytest.mark.usefixtures("models")
def test_the_shipped_parts_judge_beside_the_views(
    opened: Callable[..., AppearanceNode[Any]],
) -> None:
    views = face("context", SKIN)
    other = replace(views, images=np.concatenate([views.images[:3], 255 - views.images[3:]]))
    for engine, told in (("", False), ("views_parts", True)):
        node = opened("context", engine)
        (first,), (second,) = judged(node, views), judged(node, other)
        assert (first.details["score"] != second.details["score"]) is told
    with pytest.raises(BundleError, match=r"trained on 4 views .* found 3; get a bundle"):
        judged(node, replace(views, scales=views.scales[:3]))


def test_without_the_third_party_network_a_notice_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path / "none"))
    told: list[str] = []
    node = ContextNet(AppearanceParams())
    node.open(NodeContext("context_net", "realtime", notice=told.append))
    (evidence,) = judged(node, face("context", SKIN))
    assert evidence.reasons == (Reason.ENGINE_MISSING,)
    (line,) = told
    assert "padflow models pull natural_features" in line
    assert "no context evidence" in line


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    colors=st.lists(
        st.tuples(*[st.integers(10, 240)] * 3), min_size=2, max_size=9
    ),
    poor=st.sets(st.integers(0, 8)),
    order=st.randoms(use_true_random=False),
    cut=st.integers(1, 4),
)  # fmt: skip
@pytest.mark.parametrize("cue", NETS)
def test_neither_order_nor_length_of_a_batch_matters(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str], cue: str,
    colors: list[tuple[int, int, int]], poor: set[int], order: Any, cut: int,
) -> None:  # fmt: skip
    node = opened(cue, bundles[cue])
    dark = replace(GOOD, exposure=1.0)
    packets = [
        packet(face(cue, color, dark if i in poor else GOOD, 1 + i % 4), 0.2 * i, f"s{i % 3}", i)
        for i, color in enumerate(colors)
    ]
    alone = {p.key: node.process("faces", [p], ())["evidence"][0] for p in packets}
    order.shuffle(packets)
    bounds = [*range(0, len(packets), cut), len(packets)]
    together = [
        out
        for a, b in pairwise(bounds)
        for out in node.process("faces", packets[a:b], ())["evidence"]
    ]
    assert [p.key for p in together] == [p.key for p in packets]
    for out in together:
        single = alone[out.key]
        assert out[:4] == single[:4]
        assert out.payload.reasons == single.payload.reasons
        assert out.payload.llr == pytest.approx(single.payload.llr, abs=1e-5)


def test_patches_are_averaged(
    opened: Callable[..., AppearanceNode[Any]], bundles: dict[str, str]
) -> None:
    node = opened("patch", bundles["patch"])
    images = np.concatenate([face("patch", c, count=1).images for c in (SKIN, BLUE, SKIN)])
    (mixed,) = judged(node, FacePatches(images, GOOD))
    mean = (2 * score_of(SKIN) + score_of(BLUE)) / 3
    assert mixed.details["score"] == pytest.approx(mean, abs=0.01)


def test_the_depth_map_is_given_where_it_is_wanted(bundles: dict[str, str]) -> None:
    for wanted in ({"evidence", "depth"}, {"evidence"}):
        node = DepthNet(AppearanceParams(engine=bundles["depth"]))
        node.open(NodeContext("depth_net", "realtime", connected=frozenset(wanted)))
        try:
            out = node.process("faces", [packet(face("depth", SKIN), 3.0)], ())
        finally:
            node.close()
        maps = out.get("depth", ())
        assert len(maps) == ("depth" in wanted)
        for given_map in maps:
            assert given_map.time == 3.0
            assert isinstance(given_map.payload, DepthMap)
            assert given_map.payload.depth.shape == (32, 32)
            assert given_map.payload.depth.dtype == np.float32
            assert given_map.payload.depth.mean() == pytest.approx(sum(SKIN) / 765, abs=0.01)


class AppearanceConformance(NodeConformance):
    """Faces of two tracks: good, strange, poor."""

    cue: str

    @pytest.fixture(autouse=True)
    def _bundle(self, bundles: dict[str, str]) -> None:
        self.engine = bundles[self.cue]

    def node(self) -> Node[Any]:
        return NETS[self.cue](AppearanceParams(engine=self.engine))

    def sample(self) -> Sample:
        make = partial(face, self.cue)
        faces = [make(SKIN), make(BLUE), make(GREEN), make(SKIN, replace(GOOD, size=9.0))]
        return [("faces", packet(one, 0.2 * i, key=i % 2)) for i, one in enumerate(faces)]

    def describe(self, payload: Any) -> Any:
        return payload.depth.tobytes() if isinstance(payload, DepthMap) else payload


class TestDepthNet(AppearanceConformance):
    cue = "depth"


class TestPatchNet(AppearanceConformance):
    cue = "patch"


class TestContextNet(AppearanceConformance):
    cue = "context"


class TestPatches(NodeConformance):
    """Faces in their own pixels, large and small."""

    def node(self) -> Node[Any]:
        return Patches(PatchesParams())

    def sample(self) -> Sample:
        rng = np.random.default_rng(0)
        faces = []
        for side in (200, 96, 384):
            mesh = rng.uniform(0, side, (468, 3)).astype(np.float32)
            image = rng.integers(0, 256, (side, side, 3), np.uint8)
            faces.append(FaceCrop(image, EYE, mesh, 1.0, GOOD))
        return [("faces", packet(one, 0.2 * i)) for i, one in enumerate(faces)]

    def describe(self, payload: Any) -> Any:
        return payload.images.tobytes(), payload.images.shape, payload.quality

    def test_counts(self) -> None:
        given_out = Patches(PatchesParams(count=6)).process(
            "faces", [p for _, p in self.sample()], ()
        )
        lengths = [len(p.payload.images) for p in given_out["patches"]]
        assert lengths == [6, 1, 6]
