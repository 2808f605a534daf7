import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from padflow.engines.bundle import read_bundle
from padflow.trainers.networks import NetworkOptions, build_network
from padflow.trainers.recipe import TrainingError
from padflow.trainers.strangeness import fit_strangeness
from padflow.trainers.training import build, train
from padflow.trainers.weights import (
    between,
    bundle_weights,
    load_weights,
    mean_of,
    save_weights,
    use_weights,
    weights_of,
)
from tests.nodes.tiny_nets import write_tiny_bundle
from tests.trainers.stores import write_store
from tests.trainers.test_training import recipe

SMALL = NetworkOptions(embedding=8)


def test_weights_come_back_as_they_went(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = build_network("patch_light", SMALL).eval()
    network.head.strangeness.means += 1.5
    path = save_weights(network, tmp_path / "w.npz")
    other = build_network("patch_light", SMALL).eval()
    crops = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert not torch.equal(other(crops).score, network(crops).score)
        use_weights(other, load_weights(path))
        for found, expected in zip(other(crops)[:3], network(crops)[:3], strict=True):
            assert torch.equal(found, expected)
    again = save_weights(network, tmp_path / "again.npz")
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.npz", "w.npz"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(TrainingError, match=r"expected weights as an \.npz of numbers"):
        load_weights(path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    plain = (tmp_path / "a.npy").read_bytes()
    for content in (pickle.dumps({"a": 1}), b"", b"PK\x03\x04", plain):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"expected weights as an \.npz of numbers"):
            load_weights(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = build_network("patch_light", SMALL)
    weights = dict(load_weights(save_weights(network, tmp_path / "w.npz")))
    with pytest.raises(TrainingError, match="weights: expected those of this network"):
        use_weights(build_network("context", SMALL), weights)
    with pytest.raises(TrainingError, match=r"classify\.embed\.weight: expected .*found float32"):
        use_weights(build_network("patch_light", NetworkOptions(embedding=9)), weights)
    weights["classify.score.bias"] = np.array([np.nan], np.float32)
    with pytest.raises(TrainingError, match=r"classify\.score\.bias: expected finite numbers"):
        use_weights(network, weights)


def test_a_bundle_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected weights to start from, found only f32"):
        bundle_weights(read_bundle(write_tiny_bundle(tmp_path / "tiny", "patch")))


def test_training_starts_from_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    store = write_store(tmp_path / "store", rows=48, persons=4)
    wanted = recipe(epochs=2, steps_per_epoch=15)
    first = train(wanted, store, tmp_path / "one", tensorboard=False, say=lambda line: None)
    weights = load_weights(save_weights(first.network, tmp_path / "w.npz"))
    slow = recipe(epochs=1, steps_per_epoch=1, learning_rate=1e-9, average=0.0)
    quietly = partial(train, tensorboard=False, say=lambda line: None)
    second = quietly(slow, store, tmp_path / "two", start=weights)
    for name, value in second.network.named_parameters():
        expected = weights[name].astype(np.float64)
        np.testing.assert_allclose(value.detach().numpy(), expected, atol=1e-6, err_msg=name)
    with pytest.raises(TrainingError, match=r"checkpoint.pt: --start: expected the weights that"):
        quietly(slow, store, tmp_path / "two", resume=True)
    with pytest.raises(TrainingError, match=r"expected none, as it was begun, found some; resume"):
        quietly(wanted, store, tmp_path / "one", start=weights, resume=True)
    quietly(slow, store, tmp_path / "two", start=weights, resume=True)


def test_between_two_networks_lies_their_mixture() -> None:
    before = {"w": np.array([0.0, 2.0], np.float32), "n": np.array(3)}
    after = {"w": np.array([1.0, 4.0], np.float32), "n": np.array(7)}
    for share, expected in ((0.0, [0, 2]), (0.25, [0.25, 2.5]), (1.0, [1, 4])):
        found = between(before, after, share)
        assert found["w"].dtype == np.float32
        np.testing.assert_array_equal(found["w"], np.array(expected, np.float32))
        assert found["n"] == 7, "a count is no weight"


def test_the_mean_of_networks_counts_each_alike() -> None:
    each = [{"w": np.array([float(n), 1.0], np.float32)} for n in (0, 1, 5)]
    np.testing.assert_allclose(
        mean_of(each)["w"].astype(np.float64), np.array([2.0, 1.0]), rtol=1e-6
    )
    assert mean_of(each[1:2]) == each[1]
    for other in ({"v": each[0]["w"]}, {"w": np.zeros(3, np.float32)}, {}):
        with pytest.raises(TrainingError, match="expected those of one network to take the mean"):
            mean_of([each[0], other])


def test_what_was_learned_is_drawn_back_as_far_as_the_recipe_says(tmp_path: Path) -> None:
    quietly = partial(train, tensorboard=False, say=lambda line: None)
    store = write_store(tmp_path / "store", rows=40, persons=4)
    wanted = recipe(epochs=1, steps_per_epoch=2)
    half = replace(wanted, share_of_learned=0.5)
    start = weights_of(build(wanted))
    start["classify.score.bias"] = start["classify.score.bias"] + np.float32(0.5)
    found = quietly(wanted, store, tmp_path / "run", start=start).network
    # Resumed, a run may be drawn back otherwise: nothing of it is learned anew.
    trained = quietly(half, store, tmp_path / "run", start=start, resume=True)
    network = trained.network
    assert not network.training
    learned, drawn = found.state_dict(), network.state_dict()
    for name in ("classify.embed.weight", "classify.score.bias"):
        assert not np.array_equal(learned[name], start[name])
        expected = (learned[name].double().numpy() + start[name]) / 2
        np.testing.assert_allclose(drawn[name], expected, rtol=1e-6)
    # The strangeness is of the drawn weights' own embedding, not half of another's.
    name = "classify.strangeness.means"
    own = drawn[name].clone()
    assert not torch.equal(own, learned[name])
    network.head.strangeness.means.zero_()
    fit_strangeness(network, store, trained.split)
    assert torch.equal(own, network.state_dict()[name])
    with pytest.raises(TrainingError, match="share_of_learned: expected 1 without weights to st"):
        quietly(half, store, tmp_path / "none")
