"""The pulse network on the depth network's features, one frame of a track at a time.

After the recurrent half of Liu, Jourabloo and Liu (CVPR 2018; METHODS 8.1 to 8.5): a feature head
beside the depth head makes one map of what the stages see, the registration layer lays it onto the
frontal grid, an LSTM takes the grid's 1024 cells, and the spectrum of what comes out is held
against the spectrum of the pulse. It goes on from what the depth network computed anyway.

What is otherwise than published, and why:

* It runs across a stream, not on clips of five frames: a step gives one number of a wave, and the
  FFT layer (:func:`.pulse.wave_spectrum`) stands over the last 6 to 10 s of the wave at the true
  times, which five frames are too few for. The seconds since the frame before are an input.
* The LSTM sees the registered map without its running mean. A pulse is a small part of a percent of
  what stands there all the time; and what stands there is the depth network's to judge, which
  fusion must not count twice. A picture that is repeated gives the same wave whatever it shows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...nodes.canonical import GRID_SIDE
from .depth import to_map_side
from .motion_depth import LIGHT_STAGES, Stages
from .pulse import lstm_step
from .registration import register

CELLS = GRID_SIDE * GRID_SIDE
MEAN_MEMORY = 0.5
"""Seconds within which the mean of the registered map forgets: what is slower than 0.3 Hz is taken
away."""
USUAL_INTERVAL = 1 / 30
"""Seconds between two frames of most cameras."""


class PulseDepthState(NamedTuple):
    """What is kept of each of N tracks between two frames."""

    mean: Tensor
    """float32 (N, 1024): running mean of the registered map."""
    hidden: Tensor
    """float32 (N, H): the LSTM's output."""
    carry: Tensor
    """float32 (N, H): the LSTM's cells."""


class PulseDepthNetwork(nn.Module):
    """The wave of a track, frame by frame."""

    def __init__(
        self,
        *,
        stages: Sequence[tuple[int, int, int]] = LIGHT_STAGES,
        width: int = 128,
        hidden: int = 100,
    ) -> None:
        """A pulse network on depth features.

        Args:
            stages: channels, height and width of the depth network's three stages.
            width: channels of the feature head's first convolution; 128 as published.
            hidden: size of the LSTM; 100 as published.
        """
        super().__init__()
        self.stages = tuple(stages)
        self.hidden = hidden
        channels = sum(shape[0] for shape in stages)
        last = nn.Conv2d(3, 1, 3, padding=1)
        self.head = nn.Sequential(_conv(channels, width), _conv(width, 3), last)
        self.scale = nn.BatchNorm1d(1)
        self.lstm = nn.LSTM(CELLS + 1, hidden, batch_first=True)
        self.wave = nn.Linear(hidden, 1)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parts of a track's state, in their order."""
        return ((CELLS,), (self.hidden,), (self.hidden,))

    def new_state(self, count: int) -> PulseDepthState:
        """The state of tracks that nothing is known of."""
        return PulseDepthState(*(torch.zeros(count, *shape) for shape in self.state_shapes))

    def forward(
        self,
        stages: Stages,
        single: Tensor,
        places: Tensor,
        interval: Tensor,
        state: PulseDepthState,
    ) -> tuple[Tensor, PulseDepthState]:
        """One frame of each of N tracks.

        Args:
            stages: float32 (N, C, h, w) each, the depth network's features.
            single: float32 (N, 32, 32), the depth network's map.
            places: float32 (N, 2, 1024), as of :func:`.registration.register`.
            interval: float32 (N,), seconds since the track's frame before. 0: there is none, and
                the state, whatever is in it, has no part in what comes out.
            state: of each track.

        Returns:
            float32 (N,): the wave, 0 after a first frame; and the state for the next one.
        """
        cells = self.cells(stages, single, places)
        seen = (interval > 0)[:, None]
        mean = _mean(torch.where(seen, state.mean, cells), cells, interval[:, None])
        given = torch.cat([self._scaled(cells - mean), _pace(interval)[:, None]], dim=1)
        none = torch.zeros_like(state.hidden)
        hidden, carry = lstm_step(
            self.lstm,
            given,
            torch.where(seen, state.hidden, none),
            torch.where(seen, state.carry, none),
        )
        hidden, carry = torch.where(seen, hidden, none), torch.where(seen, carry, none)
        wave = torch.where(seen, self.wave(hidden), torch.zeros_like(interval)[:, None])
        return wave[:, 0], PulseDepthState(mean, hidden, carry)

    def clip(self, stages: Stages, single: Tensor, places: Tensor, interval: Tensor) -> Tensor:
        """All T frames of N tracks at once; the same as step by step, and quicker to train.

        Args:
            stages: float32 (N, T, C, h, w) each.
            single: float32 (N, T, 32, 32).
            places: float32 (N, T, 2, 1024).
            interval: float32 (N, T), seconds since the frame before; 0 for each track's first
                frame and for no other.

        Returns:
            float32 (N, T): the wave.
        """
        one, two, three = (stage.flatten(0, 1) for stage in stages)
        cells = self.cells((one, two, three), single.flatten(0, 1), places.flatten(0, 1))
        return self.waves(cells.reshape(*interval.shape, CELLS), interval)

    def waves(self, cells: Tensor, interval: Tensor) -> Tensor:
        """The part of :meth:`clip` that runs over time.

        Args:
            cells: float32 (N, T, 1024), of :meth:`cells`.
            interval: float32 (N, T), as there.
        """
        count, length = interval.shape
        mean, fast = cells[:, 0], []
        for step in range(1, length):
            mean = _mean(mean, cells[:, step], interval[:, step, None])
            fast.append(cells[:, step] - mean)
        if not fast:
            return torch.zeros_like(interval)
        scaled = self._scaled(torch.stack(fast, dim=1).flatten(0, 1))
        given = torch.cat(
            [scaled.reshape(count, length - 1, CELLS), _pace(interval[:, 1:])[..., None]], dim=2
        )
        hidden, _ = self.lstm(given)
        wave: Tensor = self.wave(hidden)[..., 0]
        return torch.cat([torch.zeros_like(interval[:, :1]), wave], dim=1)

    def cells(self, stages: Stages, single: Tensor, places: Tensor) -> Tensor:
        """The feature head's map on the canonical grid, (N, 1024); as of :meth:`forward`."""
        merged = torch.cat([to_map_side(stage) for stage in stages], dim=1)
        return register(self.head(merged), single, places).flatten(1)

    def _scaled(self, fast: Tensor) -> Tensor:
        """(N, 1024) in units of what they are in training: one factor for all cells."""
        scaled: Tensor = self.scale(fast[:, None])
        return scaled[:, 0]


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution, normalisation, ELU as published."""
    # Behind ReLUs, three channels wide, a face whose channels are below 0 would have no pulse.
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ELU())


def _mean(before: Tensor, cells: Tensor, interval: Tensor) -> Tensor:
    keep = torch.exp(-interval / MEAN_MEMORY)
    return keep * before + (1 - keep) * cells


def _pace(interval: Tensor) -> Tensor:
    return torch.log(interval.clamp(0.005, 1.0) / USUAL_INTERVAL)
