"""The multi-frame network: steps and whole tracks, what it remembers and what it must not."""

import pytest
import torch
from torch import Tensor, nn

from padflow.trainers.networks.motion_depth import (
    LIGHT_STAGES,
    ConvGru,
    FlowBlock,
    MotionDepthNetwork,
    MotionOutputs,
    MotionState,
    Stages,
)

Tracks = tuple[Stages, Tensor, Tensor]


def network(**changes: float | None) -> MotionDepthNetwork:
    """With the statistics of a trained one."""
    torch.manual_seed(3)
    made = MotionDepthNetwork(**changes)  # type: ignore[arg-type]
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    with torch.no_grad():  # Random weights hardly react; those that have learned do.
        for block in made.blocks:
            block.get_parameter("change.weight").mul_(30)
        made.recurrence.candidate.weight.mul_(3)
    embedding = torch.randn(200, 16)
    made.classify.strangeness.fit(embedding, torch.arange(200) % 2 == 0, embedding)
    return made.eval()


def tracks(count: int, length: int, seed: int = 0) -> Tracks:
    chance = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, length, *shape, generator=chance)

    one, two, three = (drawn(*shape) for shape in LIGHT_STAGES)
    interval = 0.08 + 0.42 * drawn()
    interval[:, 0] = 0
    return (one, two, three), drawn(32, 32), interval


def at(stages: Stages, step: int) -> Stages:
    one, two, three = (stage[:, step] for stage in stages)
    return one, two, three


@torch.inference_mode()
def streamed(made: MotionDepthNetwork, given: Tracks) -> list[MotionOutputs]:
    stages, single, interval = given
    state = made.new_state(len(single))
    said = []
    for step in range(single.shape[1]):
        outputs, state = made(at(stages, step), single[:, step], interval[:, step], state)
        said.append(outputs)
    return said


@torch.inference_mode()
def whole(made: MotionDepthNetwork, given: Tracks) -> MotionOutputs:
    return made.clip(*given)


def differences(said: list[MotionOutputs], clip: MotionOutputs) -> float:
    count = len(said[0].score)
    worst = 0.0
    for name in MotionOutputs._fields:
        steps = torch.stack([getattr(outputs, name) for outputs in said], dim=1)
        of_clip = getattr(clip, name).unflatten(0, (count, len(said)))
        off = (steps - of_clip).abs() / of_clip.abs().clamp(min=1)
        worst = max(worst, float(off.max()))
    return worst


def test_steps_are_the_whole_track() -> None:
    made, given = network(), tracks(3, 9)
    given[2][1, 5] = 0  # A track that starts afresh on its way.
    assert differences(streamed(made, given), whole(made, given)) < 1e-4


def test_tracks_in_a_batch_are_tracks_alone() -> None:
    made, (stages, single, interval) = network(), tracks(4, 6)
    together = streamed(made, (stages, single, interval))
    for k in range(4):
        one, two, three = (stage[k : k + 1] for stage in stages)
        alone = streamed(made, ((one, two, three), single[k : k + 1], interval[k : k + 1]))
        for a, b in zip(alone, together, strict=True):
            assert torch.allclose(a.score[0], b.score[k], atol=1e-4)
            assert torch.allclose(a.depth[0], b.depth[k], atol=1e-4)


def test_a_first_sample_is_no_evidence_whatever_the_state() -> None:
    made, (stages, single, interval) = network(), tracks(2, 2)
    rubbish = MotionState(*(torch.full_like(part, torch.nan) for part in made.new_state(2)))
    with torch.inference_mode():
        said, state = made(at(stages, 0), single[:, 0], torch.zeros(2), rubbish)
        clean, _ = made(at(stages, 0), single[:, 0], torch.zeros(2), made.new_state(2))
        assert torch.equal(said.score, torch.zeros(2))
        assert torch.equal(said.strangeness, torch.zeros(2))
        assert torch.equal(said.depth, single[:, 0])
        assert torch.equal(said.embedding, clean.embedding)
        assert torch.equal(state.hidden, torch.zeros_like(state.hidden))
        after, _ = made(at(stages, 1), single[:, 1], interval[:, 1], state)
    assert torch.isfinite(after.score).all()


def test_it_remembers_what_lies_more_than_one_sample_back() -> None:
    made, (stages, single, interval) = network(), tracks(2, 6)
    before = streamed(made, (stages, single, interval))[-1].score
    one, two, three = (stage.clone() for stage in stages)
    one[:, 1] += 1.0
    after = streamed(made, ((one, two, three), single, interval))[-1].score
    assert (before - after).abs().min() > 1e-5


def test_the_order_and_the_intervals_matter() -> None:
    made, (stages, single, interval) = network(), tracks(2, 6)
    score = whole(made, (stages, single, interval)).score
    faster = whole(made, (stages, single, interval / 2)).score
    one, two, three = (stage.flip(1) for stage in stages)
    backwards = whole(made, ((one, two, three), single.flip(1), interval)).score
    seen = interval.flatten() > 0
    assert (score - faster)[seen].abs().min() > 1e-6
    assert (score - backwards)[seen].abs().max() > 1e-5


def test_the_map_is_mixed_as_published() -> None:
    made, given = network(alpha=0.4), tracks(2, 3)
    found = whole(made, given)
    later = given[2].flatten() > 0
    mixed = 0.4 * given[1].flatten(0, 1) + 0.6 * found.motion_map
    assert torch.allclose(found.depth[later], mixed[later], atol=1e-6)
    assert not made.mixing.requires_grad
    assert network(alpha=None).mixing.requires_grad
    assert float(network(alpha=None).alpha.detach()) == pytest.approx(0.4, abs=1e-5)


def test_a_block_sees_gradients_and_differences() -> None:
    block = FlowBlock(2, 3, 5).eval()
    across = torch.arange(8.0).expand(1, 3, 8, 8)
    gradients = block._gradients(across)[0, :, 1:-1, 1:-1]
    assert torch.allclose(gradients[0::2], torch.ones(3, 6, 6))
    assert torch.allclose(gradients[1::2], torch.zeros(3, 6, 6), atol=1e-6)
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(block(picture, picture), torch.zeros(1, 5, 8, 8))
    assert block(picture, picture + torch.rand(1, 3, 8, 8)).abs().max() > 1e-3


def test_repeated_samples_say_the_same_whatever_they_show() -> None:
    made, (stages, single, interval) = network(), tracks(3, 6)
    one, two, three = (stage[:, :1].expand_as(stage) for stage in stages)
    interval = interval[:1].expand(3, 6)
    found = whole(made, ((one, two, three), single, interval))
    by_track = found.score.reshape(3, 6)
    assert torch.allclose(by_track[0], by_track[1], atol=1e-5)
    assert torch.allclose(by_track[0], by_track[2], atol=1e-5)
    moving = whole(made, (stages, single, interval)).score.reshape(3, 6)
    assert (moving[0] - moving[1]).abs().max() > 1e-6


def test_gates_keep_and_reset() -> None:
    unit = ConvGru(1, 2)
    hidden = torch.rand(1, 2, 4, 4)
    nn.init.zeros_(unit.gates.weight)
    with torch.no_grad():
        unit.gates.bias.copy_(torch.tensor([0.0, 0.0, 50.0, 50.0]))  # type: ignore[union-attr]
        kept = unit(torch.rand(1, 1, 4, 4), hidden)
        assert torch.allclose(kept, hidden)
        unit.gates.bias.copy_(torch.tensor([-50.0, -50.0, -50.0, -50.0]))  # type: ignore[union-attr]
        given = torch.rand(1, 1, 4, 4)
        assert torch.allclose(unit(given, hidden), unit(given, hidden * 0), atol=1e-6)


def test_it_is_small() -> None:
    assert sum(p.numel() for p in MotionDepthNetwork().parameters()) < 60_000


def test_it_fits_the_full_depth_network_too() -> None:
    shapes = ((128, 128, 128), (128, 64, 64), (128, 32, 32))
    made = MotionDepthNetwork(stages=shapes).eval()
    one, two, three = (torch.rand(1, *shape) for shape in shapes)
    with torch.inference_mode():
        said, state = made(
            (one, two, three), torch.rand(1, 32, 32), torch.zeros(1), made.new_state(1)
        )
    assert said.depth.shape == (1, 32, 32)
    assert [tuple(part.shape[1:]) for part in state] == list(made.state_shapes)
