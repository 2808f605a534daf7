import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.skin_cells import cell_count
from padflow.nodes.spectrum import pulse_frequencies, uneven_spectrum
from padflow.trainers.networks.pulse import PulseNetwork, wave_spectrum
from padflow.trainers.pulse_traces import Traces, draw_traces

PARTS = ("change", "seen", "motion", "seconds")


def network() -> PulseNetwork:
    torch.manual_seed(3)
    return PulseNetwork(cell_size=8, face_size=12).eval()


def clips(count: int, seconds: float = 2.0, rate: float = 20.0) -> Traces:
    return draw_traces(np.random.default_rng(4), count, rate=rate, seconds=seconds)


def given_parts(traces: Traces) -> list[torch.Tensor]:
    return [torch.from_numpy(getattr(traces, part)) for part in PARTS]


def stepped(net: PulseNetwork, traces: Traces, chops: list[int]) -> torch.Tensor:
    """Waves (N, T), with the memory exported to NumPy and restored at every chop."""
    memory, waves = net.fresh(len(traces.times)), []
    for index in range(traces.times.shape[1]):
        if index in chops:
            memory = torch.from_numpy(memory.numpy().copy())
        step = net(*(part[:, index] for part in given_parts(traces)), memory)
        memory = step.memory
        waves.append(step.wave)
    return torch.stack(waves, dim=1)


@settings(max_examples=5, deadline=None)
@given(chops=st.lists(st.integers(0, 40), max_size=6))
def test_the_stream_gives_the_whole_clip_however_it_is_chopped(chops: list[int]) -> None:
    net, traces = network(), clips(2)
    with torch.no_grad():
        whole, cells, attention = net.clip(*given_parts(traces))
        found = stepped(net, traces, chops)
    assert (found - whole).abs().max() < 1e-4
    assert whole.std() > 1e-3
    assert cells.shape == attention.shape == (2, traces.times.shape[1], cell_count())
    assert torch.allclose(attention.sum(dim=-1), torch.ones(()))


def test_tracks_in_a_batch_do_not_know_of_each_other() -> None:
    net, traces = network(), clips(5)
    with torch.no_grad():
        together = stepped(net, traces, [])
        alone = [stepped(net, traces.only(np.array([i])), []) for i in range(5)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_a_cell_that_is_not_seen_has_no_weight() -> None:
    net, traces = network(), clips(2)
    change, seen, motion, seconds = given_parts(traces)
    seen[:, :, 3] = 0.0
    with torch.no_grad():
        _, _, attention = net.clip(change, seen, motion, seconds)
    assert attention[:, :, 3].max() < 1e-6


def test_the_light_that_skin_and_wall_share_is_cancelled_and_the_pulse_is_not() -> None:
    times = np.arange(200) / 20.0
    pulse = 0.003 * np.sin(2 * np.pi * 1.3 * times)
    light = 0.02 * np.sin(2 * np.pi * 2.1 * times)
    colours = np.zeros((1, 200, cell_count() + 1, 3), np.float32)
    colours[:, :, :-1] += (pulse[:, None, None] * np.array([0.33, 0.77, 0.53])).astype(np.float32)
    colours += light[:, None, None].astype(np.float32) * np.array([1.1, 1.0, 0.9], np.float32)
    change = np.diff(colours, axis=1, prepend=colours[:, :1])
    shape = change.shape[:3]
    steady = [np.ones(shape), np.zeros((1, 200, 4)), np.full((1, 200), 0.05)]
    parts = [torch.from_numpy(part.astype(np.float32)) for part in (change, *steady)]
    face = network().observe_clip(*parts).face[0, :, 0].numpy()
    power = np.abs(uneven_spectrum(times[60:], face[60:], pulse_frequencies())) ** 2
    beats = pulse_frequencies()
    at = [power[np.abs(beats - beat) < 0.15].sum() for beat in (1.3, 2.1)]
    assert at[0] > 20 * at[1]


def test_the_fft_layer_gives_the_numbers_of_the_node_and_a_gradient() -> None:
    traces = clips(3, seconds=8.0)
    times = torch.from_numpy(traces.times)
    waves = torch.randn(3, 2, times.shape[1], requires_grad=True)
    start, end = times[:, 20], times[:, -1]
    found = wave_spectrum(times, waves, start, end)
    assert found.shape == (3, 2, 50)
    for clip in range(3):
        part = waves[clip, 1, 20:].detach().numpy().astype(np.float64)
        wanted = np.abs(uneven_spectrum(traces.times[clip, 20:], part, pulse_frequencies()))
        assert np.abs(found[clip, 1].detach().numpy() - wanted).max() < 1e-4
    found.sum().backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    assert waves.grad is not None
    assert waves.grad.abs().max() > 0
