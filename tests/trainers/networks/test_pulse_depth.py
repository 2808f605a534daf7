"""The pulse network on depth features: steps and whole tracks, and what it must not remember."""

import pytest
import torch
from torch import Tensor, nn

from padflow.trainers.networks.motion_depth import LIGHT_STAGES, Stages
from padflow.trainers.networks.pulse import wave_spectrum
from padflow.trainers.networks.pulse_depth import CELLS, PulseDepthNetwork, PulseDepthState

Given = tuple[Stages, Tensor, Tensor, Tensor]


def network() -> PulseDepthNetwork:
    """With the statistics of a trained one."""
    torch.manual_seed(3)
    made = PulseDepthNetwork(width=8, hidden=12)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    nn.init.constant_(made.scale.running_var, 0.01)  # type: ignore[arg-type]  # it is tracked
    with torch.no_grad():  # Random weights hardly react; those that have learned do.
        made.lstm.get_parameter("weight_ih_l0").mul_(4)
    return made.eval()


def tracks(count: int, length: int, seed: int = 0) -> Given:
    chance = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, length, *shape, generator=chance)

    one, two, three = (drawn(*shape) for shape in LIGHT_STAGES)
    interval = 0.016 + 0.2 * drawn() ** 2
    interval[:, 0] = 0
    return (one, two, three), drawn(32, 32), drawn(2, CELLS), interval


def at(given: Given, step: int) -> Given:
    (one, two, three), *rest = given
    single, places, interval = (part[:, step] for part in rest)
    return (one[:, step], two[:, step], three[:, step]), single, places, interval


def only(given: Given, track: int) -> Given:
    (one, two, three), *rest = given
    single, places, interval = (part[track : track + 1] for part in rest)
    chosen = slice(track, track + 1)
    return (one[chosen], two[chosen], three[chosen]), single, places, interval


@torch.inference_mode()
def streamed(made: PulseDepthNetwork, given: Given) -> Tensor:
    state, waves = made.new_state(len(given[1])), []
    for step in range(given[1].shape[1]):
        wave, state = made(*at(given, step), state)
        waves.append(wave)
    return torch.stack(waves, dim=1)


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_the_whole_track(seed: int) -> None:
    made, given = network(), tracks(2, 3 + 4 * seed, seed)
    with torch.inference_mode():
        whole = made.clip(*given)
    assert whole.std() > 1e-2
    assert torch.equal(whole[:, 0], torch.zeros(2))
    assert (streamed(made, given) - whole).abs().max() < 1e-4


def test_a_track_of_one_frame_has_no_wave() -> None:
    made, given = network(), tracks(2, 1)
    with torch.inference_mode():
        assert torch.equal(made.clip(*given), torch.zeros(2, 1))


def test_tracks_in_a_batch_are_tracks_alone() -> None:
    made, given = network(), tracks(4, 6)
    together = streamed(made, given)
    alone = torch.cat([streamed(made, only(given, k)) for k in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_first_frame_has_no_wave_whatever_the_state() -> None:
    made, given = network(), tracks(2, 3)
    rubbish = PulseDepthState(*(torch.full_like(part, torch.nan) for part in made.new_state(2)))
    with torch.inference_mode():
        wave, state = made(*at(given, 0), rubbish)
        _, clean = made(*at(given, 0), made.new_state(2))
    assert torch.equal(wave, torch.zeros(2))
    for part, other in zip(state, clean, strict=True):
        assert torch.equal(part, other)
    assert state.mean.abs().max() > 0


def test_a_repeated_picture_says_the_same_whatever_it_shows() -> None:
    made, ((one, two, three), single, places, interval) = network(), tracks(2, 6)
    stages = (
        one[:, :1].expand_as(one), two[:, :1].expand_as(two), three[:, :1].expand_as(three)
    )  # fmt: skip
    interval = interval[:1].expand(2, 6)
    still = (single[:, :1].expand_as(single), places[:, :1].expand_as(places), interval)
    with torch.inference_mode():
        waves = made.clip(stages, *still)
        moving = made.clip((one, two, three), *still)
    assert torch.allclose(waves[0], waves[1], atol=1e-5)
    assert (moving[0] - moving[1]).abs().max() > 1e-3


def test_the_seconds_matter_and_so_does_what_lies_back() -> None:
    made, given = network(), tracks(2, 6)
    (one, two, three), single, places, interval = given
    before = streamed(made, given)[:, -1]
    faster = streamed(made, ((one, two, three), single, places, interval / 2))[:, -1]
    assert (before - faster).abs().min() > 1e-5
    one = one.clone()
    one[:, 1] += torch.rand(one[:, 1].shape, generator=torch.Generator().manual_seed(9))
    after = streamed(made, ((one, two, three), single, places, interval))[:, -1]
    assert (before - after).abs().min() > 1e-5


def test_the_loss_on_the_spectrum_reaches_every_weight() -> None:
    made = network().train()
    given = tracks(2, 8)
    times = given[3].cumsum(dim=1).double()
    waves = made.clip(*given)
    spectrum = wave_spectrum(times, waves, times[:, 0], times[:, -1])
    assert spectrum.shape == (2, 50)
    (spectrum - 0.1).abs().sum().backward()  # type: ignore[no-untyped-call]
    # What is added to a whole map or before a normalisation is taken away again with the mean.
    for name, weight in made.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    for name in ("head.0.0.weight", "head.2.weight", "lstm.weight_ih_l0", "wave.weight"):
        assert made.get_parameter(name).grad.abs().max() > 0, name  # type: ignore[union-attr]


def test_it_fits_the_full_depth_network_too() -> None:
    shapes = ((128, 128, 128), (128, 64, 64), (128, 32, 32))
    made = PulseDepthNetwork(stages=shapes, width=8, hidden=12).eval()
    one, two, three = (torch.rand(1, *shape) for shape in shapes)
    place = torch.rand(1, 2, CELLS)
    with torch.inference_mode():
        wave, state = made(
            (one, two, three), torch.rand(1, 32, 32), place, torch.zeros(1), made.new_state(1)
        )
    assert wave.shape == (1,)
    assert [tuple(part.shape[1:]) for part in state] == list(made.state_shapes)
