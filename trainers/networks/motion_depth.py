"""The multi-frame depth network of Wang et al., one sample of a track at a time.

After FAS-TD (arXiv 1811.05118) and FAS-SGTD (CVPR 2020): OFF blocks on the depth network's stage
features of consecutive samples, cascaded over the three scales; a ConvGRU over time; a refined map
D = alpha * single + (1 - alpha) * motion. It goes on from what the depth network computed anyway.

What is otherwise than published, and why:

* The blocks see gradients and differences of the reduced features, not the features themselves
  (as Sun et al., *Optical Flow Guided Feature*, CVPR 2018): what one picture shows is the depth
  network's to judge, and fusion must not count it twice. For the same reason the score rests on
  the motion's own map, not on the refined one.
* It runs across a stream, not on clips of five frames at a fixed distance: the seconds between two
  samples are an input. They go to the recurrence as a plane.
* The recurrent part works at 16x16 cells, with one layer and a convolution in place of the second.
* What a block finds is multiplied by a convolution of the difference, so that it is nothing where
  nothing changed. Without this a network that was asked to call repeated pictures neither live nor
  attack still ranked them by what they showed (AUC 0.68, as much as with motion).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Head
from .depth import MAP_SIDE, map_statistics
from .layers import conv3

JOIN_SIDE = 16
"""Cells a side at which the scales are joined and the recurrence runs."""
USUAL_INTERVAL = 0.2
"""Seconds between two samples at the default cadence."""
LIGHT_STAGES = ((26, 32, 32), (26, 16, 16), (26, 8, 8))
"""Channels, height and width of ``depth_light``'s stages."""

Stages = tuple[Tensor, Tensor, Tensor]


class MotionState(NamedTuple):
    """What is kept of each of N tracks between two samples."""

    reduced_1: Tensor
    """float32 (N, R, h, w): the previous sample's reduced features of the first stage."""
    reduced_2: Tensor
    reduced_3: Tensor
    hidden: Tensor
    """float32 (N, H, 16, 16) in -1..1: the recurrence."""


class MotionOutputs(NamedTuple):
    """What the network says after each of N samples."""

    depth: Tensor
    """float32 (N, 32, 32): the refined map."""
    motion_map: Tensor
    """float32 (N, 32, 32): the motion's own part of it."""
    score: Tensor
    """float32 (N,): logit, positive is live; 0 after a first sample."""
    embedding: Tensor
    """float32 (N, K)."""
    strangeness: Tensor
    """float32 (N,): above 1 is unlike anything trained on."""


class FlowBlock(nn.Module):
    """An OFF block: what changed between two samples, beside where it could have been seen.

    Brightness constancy ties the temporal difference to the product of spatial gradients and
    motion; the block multiplies what a convolution sees in all of them by what changed. Two equal
    samples give zero, whatever they show.
    """

    def __init__(self, channels: int, reduced: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced)
        )
        self.mix = conv3(5 * reduced, width)
        self.change = nn.Conv2d(reduced, width, 3, padding=1, bias=False)
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        kernels = torch.stack([across, across.T]).unsqueeze(1)
        self.register_buffer("sobel", kernels.repeat(reduced, 1, 1, 1), persistent=False)

    def forward(self, before: Tensor, now: Tensor) -> Tensor:
        """Reduced features (N, R, h, w) of two samples to (N, width, h, w)."""
        kinds = [self._gradients(before), self._gradients(now), now - before]
        mixed: Tensor = self.mix(torch.cat(kinds, dim=1))
        changed: Tensor = self.change(now - before)
        return mixed * changed

    def _gradients(self, reduced: Tensor) -> Tensor:
        """Sobel in x and y of each channel, (N, 2R, h, w)."""
        kernels = self.get_buffer("sobel")
        return functional.conv2d(reduced, kernels, padding=1, groups=reduced.shape[1])


class ConvGru(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions (Ballas et al., ICLR 2016)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(inputs + hidden, hidden, 3, padding=1)
        nn.init.ones_(self.gates.bias)  # type: ignore[arg-type]  # there is a bias

    def forward(self, given: Tensor, hidden: Tensor) -> Tensor:
        """The next hidden state (N, H, h, w)."""
        gates = torch.sigmoid(self.gates(torch.cat([given, hidden], dim=1)))
        reset, keep = gates.chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([given, reset * hidden], dim=1)))
        return keep * hidden + (1 - keep) * candidate


class MotionDepthNetwork(nn.Module):
    """Refined depth map, score and embedding of a track, sample by sample."""

    def __init__(
        self,
        *,
        stages: Sequence[tuple[int, int, int]] = LIGHT_STAGES,
        reduced: int = 8,
        width: int = 16,
        hidden: int = 16,
        embedding: int = 16,
        alpha: float | None = 0.4,
        dropout: float = 0.3,
    ) -> None:
        """A multi-frame depth network.

        Args:
            stages: channels, height and width of the depth network's three stages.
            reduced: channels that the 1x1 convolutions keep of each stage.
            width: channels of the blocks.
            hidden: channels of the recurrence.
            embedding: length of the embedding.
            alpha: share of the single-frame map in the refined one; None: learned, from 0.4.
            dropout: chance in training that a channel of what moved, or a number before the
                head, is left out.
        """
        super().__init__()
        self.stages = tuple(stages)
        self.reduced, self.hidden = reduced, hidden
        self.blocks = nn.ModuleList(FlowBlock(shape[0], reduced, width) for shape in stages)
        self.joins = nn.ModuleList(conv3(2 * width, width) for _ in stages[1:])
        self.fewer_channels = nn.Dropout2d(dropout)
        self.fewer_numbers = nn.Dropout(dropout)
        self.recurrence = ConvGru(width + 1, hidden)
        self.map = nn.Conv2d(hidden, (MAP_SIDE // JOIN_SIDE) ** 2, 3, padding=1)
        self.classify = Head(2 * hidden + 32, embedding)
        share = torch.tensor(0.4 if alpha is None else alpha)
        logit = torch.logit(share.clamp(1e-4, 1 - 1e-4))
        self.mixing = nn.Parameter(logit, requires_grad=alpha is None)

    @property
    def alpha(self) -> Tensor:
        """Share of the single-frame map, 0..1."""
        return torch.sigmoid(self.mixing)

    def new_state(self, count: int) -> MotionState:
        """The state of tracks that nothing is known of."""
        return MotionState(*(torch.zeros(count, *shape) for shape in self.state_shapes))

    @property
    def state_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Shapes of the parts of a track's state, in their order."""
        reduced = ((self.reduced, *shape[1:]) for shape in self.stages)
        return (*reduced, (self.hidden, JOIN_SIDE, JOIN_SIDE))

    def forward(
        self, stages: Stages, single: Tensor, interval: Tensor, state: MotionState
    ) -> tuple[MotionOutputs, MotionState]:
        """One sample of each of N tracks.

        Args:
            stages: float32 (N, C, h, w) each, the depth network's features.
            single: float32 (N, 32, 32), the depth network's map.
            interval: float32 (N,), seconds since the track's previous sample. 0: there is none,
                and the state, whatever is in it, has no part in what comes out.
            state: of each track.
        """
        present = self._reduced(stages)
        moved = self._motion(state[:3], present, interval)
        hidden = self._next_hidden(moved, state.hidden, interval)
        return self._judged(hidden, single, interval), MotionState(*present, hidden)

    def clip(self, stages: Stages, single: Tensor, interval: Tensor) -> MotionOutputs:
        """All T samples of N tracks at once; the same as step by step, and quicker to train.

        Args:
            stages: float32 (N, T, C, h, w) each.
            single: float32 (N, T, 32, 32).
            interval: float32 (N, T) as in :meth:`forward`; 0 for each track's first sample.

        Returns:
            The outputs of N * T samples, tracks outermost.
        """
        count, length = interval.shape
        flat = tuple(stage.flatten(0, 1) for stage in stages)
        present = self._reduced((flat[0], flat[1], flat[2]))
        before = tuple(_shifted(one, count, length) for one in present)
        moved = self._motion(before, present, interval.flatten())
        moved = moved.reshape(count, length, *moved.shape[1:])
        hidden = moved.new_zeros(count, self.hidden, JOIN_SIDE, JOIN_SIDE)
        past = []
        for step in range(length):
            hidden = self._next_hidden(moved[:, step], hidden, interval[:, step])
            past.append(hidden)
        hiddens = torch.stack(past, dim=1).flatten(0, 1)
        return self._judged(hiddens, single.flatten(0, 1), interval.flatten())

    def _reduced(self, stages: Stages) -> Stages:
        one, two, three = (
            block.get_submodule("reduce")(stage)
            for block, stage in zip(self.blocks, stages, strict=True)
        )
        return one, two, three

    def _motion(self, before: Sequence[Tensor], now: Sequence[Tensor], interval: Tensor) -> Tensor:
        """What moved, (N, width + 1, 16, 16); the last plane is the interval."""
        seen = (interval > 0)[:, None, None, None]
        joined: Tensor | None = None
        for place, block in enumerate(self.blocks):
            earlier = torch.where(seen, before[place], now[place])
            flow = _to_join_side(block(earlier, now[place]))
            if joined is None:
                joined = flow
            else:
                joined = self.joins[place - 1](torch.cat([joined, flow], dim=1))
        assert joined is not None
        pace = torch.log(interval.clamp(0.02, 5.0) / USUAL_INTERVAL)
        plane = pace[:, None, None, None].expand(-1, 1, JOIN_SIDE, JOIN_SIDE)
        return torch.cat([self.fewer_channels(joined), plane], dim=1)

    def _next_hidden(self, moved: Tensor, hidden: Tensor, interval: Tensor) -> Tensor:
        seen = (interval > 0)[:, None, None, None]
        nothing = torch.zeros_like(hidden)
        following = self.recurrence(moved, torch.where(seen, hidden, nothing))
        return torch.where(seen, following, nothing)

    def _judged(self, hidden: Tensor, single: Tensor, interval: Tensor) -> MotionOutputs:
        seen = interval > 0
        drawn = functional.pixel_shuffle(self.map(hidden), MAP_SIDE // JOIN_SIDE).squeeze(1)
        motion_map = torch.sigmoid(drawn.float())
        refined = self.alpha * single + (1 - self.alpha) * motion_map
        depth = torch.where(seen[:, None, None], refined, single)
        mean = hidden.mean(dim=(2, 3))
        spread = torch.sqrt((hidden - mean[:, :, None, None]).square().mean(dim=(2, 3)) + 1e-6)
        pooled = torch.cat([mean, spread, map_statistics(motion_map.detach())], dim=1)
        said = self.classify(self.fewer_numbers(pooled))
        score = torch.where(seen, said.score, torch.zeros_like(said.score))
        strange = torch.where(seen, said.strangeness, torch.zeros_like(said.strangeness))
        return MotionOutputs(depth, motion_map, score, said.embedding, strange)


def _shifted(samples: Tensor, count: int, length: int) -> Tensor:
    """Each sample's predecessor, (N * T, ...); a first sample's is itself."""
    by_track = samples.reshape(count, length, *samples.shape[1:])
    return torch.cat([by_track[:, :1], by_track[:, :-1]], dim=1).flatten(0, 1)


def _to_join_side(features: Tensor) -> Tensor:
    side = features.shape[-1]
    if side > JOIN_SIDE:
        return functional.max_pool2d(features, side // JOIN_SIDE)
    if side < JOIN_SIDE:
        return functional.interpolate(
            features, scale_factor=float(JOIN_SIDE // side), mode="bilinear", align_corners=False
        )
    return features
