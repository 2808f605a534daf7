"""The pulse network: an LSTM over the stream at full frame rate on registered cells of skin.

After the recurrent network on registered features and the FFT layer of Liu, Jourabloo and Liu
(CVPR 2018; METHODS 8.2 to 8.5), with the registered skin map in the place of the features. A step
takes what :mod:`padflow.nodes.skin_cells` says of one frame and gives a wave for each cell, their
weights, and the face's wave; all that it remembers is one vector. In a step:

1. Without weights: changes are summed into colours against a mean that forgets within a fraction
   of a second, twice over, so that what is slower than a pulse does not count; running moments of
   a cell's colours, of the light beside the face and of the pose give the combination of colours
   that keeps the pulse's colour and holds least of what else happens there (the pulse vector of
   METHODS 9.7, with light and pose as further channels to be cancelled). The cells' combinations,
   each weighted by its inverse power, make one for the face.
2. An LSTM, the same for all cells, on that combination, the plain colours and their strengths. A
   cell sees its own colours only, so that two cells that agree are two witnesses.
3. Weights of the cells (attention), and a second LSTM on the weighted cells and the whole face.

Every step knows how many seconds have passed: frames come at 5 to 60 a second, unevenly, and are
brought together to steps of 5 to 18 a second (:mod:`padflow.nodes.skin_steps`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...nodes.rppg import PULSE_COLOUR
from ...nodes.skin_cells import cell_count
from ...nodes.spectrum import pulse_frequencies

COLOUR_MEMORY = 0.3
"""Seconds within which a change of colour is forgotten, twice over: a high-pass of two poles at
0.53 Hz. What is slower moves more than a pulse does, and the moments would be of that alone."""
MOMENT_MEMORY = 2.5
"""Seconds within which the moments forget."""
LONGEST_STEP = 0.5
"""Seconds that a single step may take at most."""

_COLOURS = 3
_POSES = 3
_CHANNELS = _COLOURS + 1 + _POSES
"""Red, green, blue; the light beside the face; yaw, pitch and roll."""
_PERCENT = 100.0
"""Relative changes are counted in percent inside, which keeps the numbers near 1."""
_FLOORS = (1e-2,) * 4 + (1e-2,) * _POSES
"""Least deviation of a channel that counts: percent of colour, tens of degrees."""
_LOADING = 0.02
"""Added to the diagonal of the correlations: what is uncorrelated in every case."""
_LEAST = 1e-5
_FARTHEST = 6.0
"""Deviations at which a feature is cut off."""
_LEAST_POWER = 1e-3
"""Added to a cell's power where cells are weighted by it, in percent squared."""
_OWN = 8
"""Features of a cell's or the face's colours."""
_SHARED = _POSES + 2
"""Features of the step that all cells see."""
_CELL_FEATURES = _OWN + _SHARED + 1
_FACE_FEATURES = _OWN + _SHARED + 2


class Step(NamedTuple):
    """What a step gives for N tracks."""

    wave: Tensor
    """(N,): the face's pulse wave; its size is how sure the network is."""
    waves: Tensor
    """(N, K): the same of each cell by itself."""
    attention: Tensor
    """(N, K): weights of the cells, sum 1."""
    memory: Tensor
    """(N, S): for the next step."""


class Features(NamedTuple):
    """What the weightless part makes of a step."""

    cells: Tensor
    """(..., K, F)"""
    face: Tensor
    """(..., G)"""
    seen: Tensor
    """(..., K)"""


class PulseNetwork(nn.Module):
    """Step network, and the same over whole clips for training."""

    steering: Tensor
    floors: Tensor

    def __init__(self, *, cell_size: int = 24, face_size: int = 32) -> None:
        """A pulse network.

        Args:
            cell_size: hidden size of the cells' LSTM.
            face_size: hidden size of the face's LSTM.
        """
        super().__init__()
        self.cells = cell_count()
        self.cell_lstm = nn.LSTM(_CELL_FEATURES, cell_size, batch_first=True)
        self.cell_wave = nn.Linear(cell_size, 1)
        self.cell_weight = nn.Linear(cell_size, 1)
        self.face_lstm = nn.LSTM(cell_size + _FACE_FEATURES, face_size, batch_first=True)
        self.face_wave = nn.Linear(face_size, 1)
        colour = torch.tensor(PULSE_COLOUR, dtype=torch.float32)
        self.register_buffer("steering", torch.cat([colour, torch.zeros(1 + _POSES)]), False)
        self.register_buffer("floors", torch.tensor(_FLOORS), False)
        traces = self.cells + 1
        self._parts = {
            "colours": (traces + 1, _COLOURS),
            "slower": (traces + 1, _COLOURS),
            "poses": (_POSES,),
            "slower_poses": (_POSES,),
            "moments": (traces, _CHANNELS, _CHANNELS),
            "power": (traces,),
            "pooled": (1,),
            "cell_hidden": (self.cells, cell_size),
            "cell_carry": (self.cells, cell_size),
            "face_hidden": (face_size,),
            "face_carry": (face_size,),
        }

    @property
    def memory_size(self) -> int:
        """S: numbers that are remembered of a track."""
        return sum(int(np.prod(shape)) for shape in self._parts.values())

    def fresh(self, count: int) -> Tensor:
        """The memory of tracks that nothing is known of, float32 (count, S)."""
        return torch.zeros(count, self.memory_size, device=self.steering.device)

    def forward(
        self, change: Tensor, seen: Tensor, motion: Tensor, seconds: Tensor, memory: Tensor
    ) -> Step:
        """One step of N tracks.

        Args:
            change: float32 (N, K + 1, 3), as of :class:`~padflow.nodes.skin_cells.SkinChange`.
            seen: float32 (N, K + 1).
            motion: float32 (N, 4).
            seconds: float32 (N,): since the step before.
            memory: float32 (N, S): zeros at first, then what the step before gave.
        """
        parts = self._unpacked(memory)
        features, running = self._observe(change, seen, motion, seconds, parts)
        rows = features.cells.flatten(0, 1)
        hidden, carry = lstm_step(
            self.cell_lstm,
            rows,
            parts["cell_hidden"].flatten(0, 1),
            parts["cell_carry"].flatten(0, 1),
        )
        cells = hidden.reshape(-1, self.cells, hidden.shape[1])
        waves, attention = self._cell_outputs(cells, features.seen)
        face, face_carry = lstm_step(
            self.face_lstm,
            self._face_input(cells, attention, features.face),
            parts["face_hidden"],
            parts["face_carry"],
        )
        running |= {
            "cell_hidden": cells,
            "cell_carry": carry.reshape(-1, self.cells, carry.shape[1]),
            "face_hidden": face,
            "face_carry": face_carry,
        }
        packed = torch.cat([running[name].flatten(1) for name in self._parts], dim=1)
        return Step(self.face_wave(face)[:, 0], waves, attention, packed)

    def clip(
        self, change: Tensor, seen: Tensor, motion: Tensor, seconds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole clips from a fresh memory: the same numbers as step by step.

        Args:
            change: float32 (N, T, K + 1, 3); the others likewise with T behind N.
            seen: float32 (N, T, K + 1).
            motion: float32 (N, T, 4).
            seconds: float32 (N, T).

        Returns:
            wave (N, T), the cells' waves (N, T, K), attention (N, T, K).
        """
        features = self.observe_clip(change, seen, motion, seconds)
        return self.judge_clip(features)

    @torch.no_grad()
    def observe_clip(
        self, change: Tensor, seen: Tensor, motion: Tensor, seconds: Tensor
    ) -> Features:
        """The weightless part over whole clips; arguments as of :meth:`clip`."""
        parts = self._unpacked(self.fresh(len(change)))
        found = []
        for index in range(change.shape[1]):
            features, running = self._observe(
                change[:, index], seen[:, index], motion[:, index], seconds[:, index], parts
            )
            parts |= running
            found.append(features)
        return Features(*(torch.stack(part, dim=1) for part in zip(*found, strict=True)))

    def judge_clip(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """The learned part over whole clips; returns as of :meth:`clip`."""
        count = len(features.cells)
        rows = features.cells.transpose(1, 2).flatten(0, 1)  # (N * K, T, F)
        hidden, _ = self.cell_lstm(rows)
        cells = hidden.reshape(count, self.cells, *hidden.shape[1:]).transpose(1, 2)
        waves, attention = self._cell_outputs(cells, features.seen)
        face, _ = self.face_lstm(self._face_input(cells, attention, features.face))
        return self.face_wave(face)[..., 0], waves, attention

    def _unpacked(self, memory: Tensor) -> dict[str, Tensor]:
        sizes = [int(np.prod(shape)) for shape in self._parts.values()]
        parts = torch.split(memory, sizes, dim=1)
        return {
            name: part.reshape(-1, *shape)
            for (name, shape), part in zip(self._parts.items(), parts, strict=True)
        }

    def _observe(
        self,
        change: Tensor,
        seen: Tensor,
        motion: Tensor,
        seconds: Tensor,
        parts: dict[str, Tensor],
    ) -> tuple[Features, dict[str, Tensor]]:
        """Features of a step, and what the weightless part remembers."""
        seconds = seconds.clamp(1e-3, LONGEST_STEP)
        keep = torch.exp(-seconds / COLOUR_MEMORY)[:, None]
        fade = torch.exp(-seconds / MOMENT_MEMORY)[:, None]
        change = _PERCENT * change
        skin, seen_cells = change[:, :-1], seen[:, :-1]
        total = seen_cells.sum(dim=1, keepdim=True).clamp(min=1.0)
        face = (skin * seen_cells[..., None]).sum(dim=1, keepdim=True) / total[..., None]
        whole = torch.cat([skin, face, change[:, -1:]], dim=1)
        colours, slower = _fast(parts["colours"], parts["slower"], whole, keep[..., None])
        turned = motion[:, :_POSES]
        poses, slower_poses = _fast(parts["poses"], parts["slower_poses"], turned, keep)
        channels = self._channels(colours, poses)
        outer = channels.unsqueeze(-1) * channels.unsqueeze(-2)
        fading = fade[..., None, None]
        moments = fading * parts["moments"] + (1 - fading) * outer
        deviations, kept = self._keep_pulse(channels, moments)
        power = fade * parts["power"] + (1 - fade) * kept.square()
        best = _best(kept[:, :-1], power[:, :-1], seen_cells)
        pooled = fade * parts["pooled"] + (1 - fade) * best[:, None].square()
        running = {
            "colours": colours,
            "slower": slower,
            "poses": poses,
            "slower_poses": slower_poses,
            "moments": moments,
            "power": power,
            "pooled": pooled,
        }
        rows = self._rows(channels, deviations, kept, power)
        shared = _shared(poses, motion, seconds)
        everywhere = shared[:, None].expand(-1, self.cells, -1)
        cells = torch.cat([rows[:, :-1], everywhere, seen_cells[..., None]], dim=2)
        of_all = torch.cat([rows[:, -1], _sized(best, pooled[:, 0]), shared], dim=1)
        return Features(cells, of_all, seen_cells), running

    def _channels(self, colours: Tensor, poses: Tensor) -> Tensor:
        """(N, K + 1, 7): what happens at each cell and at the face, each with light and pose."""
        traces = colours.shape[1] - 1
        beside = colours[:, -1:].mean(dim=2, keepdim=True).expand(-1, traces, -1)
        return torch.cat([colours[:, :-1], beside, poses[:, None].expand(-1, traces, -1)], dim=2)

    def _keep_pulse(self, channels: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Deviations (N, K + 1, 7) and what is left (N, K + 1) when all but the pulse is cancelled.

        The combination of channels with the least power among those that pass the pulse's colour
        unchanged: weights C^-1 p / (p C^-1 p), of correlations with a loaded diagonal.
        """
        variances = torch.diagonal(moments, dim1=-2, dim2=-1)
        deviations = torch.sqrt(variances + self.floors.square())
        scaled = moments / (deviations.unsqueeze(-1) * deviations.unsqueeze(-2))
        loaded = scaled + _LOADING * torch.eye(_CHANNELS, device=scaled.device)
        steering = self.steering / deviations
        weights = _solved(loaded, steering)
        gain = (weights * steering).sum(dim=-1)
        kept = (weights * channels / deviations).sum(dim=-1) / gain.clamp(min=_LEAST)
        return deviations, kept

    def _rows(self, channels: Tensor, deviations: Tensor, kept: Tensor, power: Tensor) -> Tensor:
        """(N, K + 1, 8): features of the colours of each cell and of the face."""
        scaled = (channels[..., :4] / deviations[..., :4]).clamp(-_FARTHEST, _FARTHEST)
        chroma = scaled[..., 1:2] - 0.5 * (scaled[..., :1] + scaled[..., 2:3])
        opposed = scaled[..., :1] - scaled[..., 2:3]
        levels = torch.stack([_level(deviations[..., 1]), _level(deviations[..., 3])], dim=-1)
        pulse = _sized(kept, power)
        return torch.cat([pulse, scaled[..., 1:2], chroma, opposed, scaled[..., 3:], levels], 2)

    def _cell_outputs(self, cells: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        waves = self.cell_wave(cells)[..., 0]
        weight = self.cell_weight(cells)[..., 0] - 30.0 * (1 - seen)
        return waves, torch.softmax(weight, dim=-1)

    def _face_input(self, cells: Tensor, attention: Tensor, face: Tensor) -> Tensor:
        pooled = (cells * attention[..., None]).sum(dim=-2)
        return torch.cat([pooled, face], dim=-1)


def _shared(poses: Tensor, motion: Tensor, seconds: Tensor) -> Tensor:
    """(N, 5): pose against its mean, speed, and the step's length."""
    speed = torch.log1p(10.0 * motion[:, _POSES:].clamp(min=0.0))
    pace = torch.log(30.0 * seconds)[:, None]
    return torch.cat([(2.0 * poses).clamp(-3.0, 3.0), speed, pace], dim=1)


def _fast(state: Tensor, slower: Tensor, change: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """What is summed up of changes and forgotten, twice over: the new state, and the first sum."""
    summed = keep * slower + change
    return keep * state + (summed - slower), summed


def _best(kept: Tensor, power: Tensor, seen: Tensor) -> Tensor:
    """(N,): the mean of the seen cells' (N, K), weighted by inverse power."""
    weights = seen / (power + _LEAST_POWER)
    return (weights * kept).sum(dim=1) / weights.sum(dim=1).clamp(min=_LEAST)


def _sized(kept: Tensor, power: Tensor) -> Tensor:
    """(..., 2): a wave in units of its deviation, and the deviation's level."""
    strength = torch.sqrt(power + _LEAST)
    return torch.stack([(kept / strength).clamp(-_FARTHEST, _FARTHEST), _level(strength)], dim=-1)


def _level(deviation: Tensor) -> Tensor:
    """A change of colour in percent on a scale of about -2 to 2."""
    return (torch.log(deviation) + 1.4) / 2.0


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """X of matrix x = right for symmetric positive matrices (..., d, d), by elimination.

    Written out, since an exported network has no solver; no pivoting is needed for such.
    """
    rows = torch.cat([matrix, right.unsqueeze(-1)], dim=-1)
    size = matrix.shape[-1]
    unit = torch.eye(size, device=matrix.device)
    for index in range(size):
        here = slice(index, index + 1)
        pivot = rows[..., here, :] / rows[..., here, here]
        rows = rows - (rows[..., here] - unit[:, here]) * pivot  # the row itself becomes the pivot
    return rows[..., size]


def lstm_step(lstm: nn.LSTM, given: Tensor, hidden: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an ``nn.LSTM`` of one layer, in plain operations for export."""
    weights = dict(lstm.named_parameters())
    gates = nn.functional.linear(given, weights["weight_ih_l0"], weights["bias_ih_l0"])
    gates = gates + nn.functional.linear(hidden, weights["weight_hh_l0"], weights["bias_hh_l0"])
    enter, forget, cell, leave = gates.chunk(4, dim=1)
    carry = torch.sigmoid(forget) * carry + torch.sigmoid(enter) * torch.tanh(cell)
    return torch.sigmoid(leave) * torch.tanh(carry), carry


def wave_spectrum(times: Tensor, waves: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The FFT layer: magnitudes of waves over a window, at the true times; differentiable.

    The same numbers as :func:`padflow.nodes.spectrum.uneven_spectrum` gives for the samples from
    ``start`` to ``end``, where these are times of samples.

    Args:
        times: float (N, T), seconds, increasing.
        waves: float (N, ..., T).
        start: float (N,): first time of the window.
        end: float (N,): last time of the window.

    Returns:
        (N, ..., 50) by :func:`padflow.nodes.spectrum.pulse_frequencies`.
    """
    frequencies = torch.from_numpy(pulse_frequencies()).to(times.device)
    share = (times.double() - start[:, None]) / (end - start)[:, None]
    window = (0.5 - 0.5 * torch.cos(2 * torch.pi * share)) * ((share >= 0) & (share <= 1))
    (gaps,) = torch.gradient(times.double(), dim=1)
    weights = window * gaps
    angles = 2 * torch.pi * frequencies[:, None] * (times.double() - end[:, None])[:, None]
    energy = (window * weights).sum(dim=1)
    scale = torch.sqrt(4.0 * (frequencies[1] - frequencies[0]) / energy)[:, None, None]
    turns = torch.stack([torch.cos(angles), torch.sin(angles)], dim=1) * scale[..., None]
    turns = (turns * weights[:, None, None]).float()  # (N, 2, 50, T)
    shares = (weights / weights.sum(dim=1, keepdim=True)).float()
    flat = waves.flatten(1, -2) if waves.ndim > 2 else waves[:, None]
    centred = flat - torch.einsum("nct,nt->nc", flat, shares)[..., None]
    parts = torch.einsum("nct,npft->ncpf", centred, turns)
    magnitudes = torch.sqrt(parts.square().sum(dim=2) + 1e-12)
    return magnitudes.reshape(*waves.shape[:-1], len(frequencies))
