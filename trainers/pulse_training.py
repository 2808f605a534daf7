"""Trains the pulse network on drawn clips: resumable, the same for the same seed, told by epoch.

The folder of a run holds ``recipe.yaml``, ``history.jsonl`` (one object an epoch),
``checkpoint.pt`` (all that a resumed run needs) and, at the end, ``network.pt``; rendered faces are
kept in ``faces``. The clips are drawn once and kept in memory as the features that the weightless
part of the network makes of them; a resumed run draws the same again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from ..engines.whole_file import write_whole
from ..nodes.spectrum import HALF_WIDTH_BPM, pulse_frequencies
from .average import WeightAverage
from .checkpoint import Learner, Progress, check_recipe, save_state
from .learning import device_of, learn_from, set_rate, training_device
from .networks.pulse import Features, PulseNetwork, wave_spectrum
from .pulse_faces import FaceClip, face_clips, face_traces
from .pulse_pictures import film_traces
from .pulse_recipe import PulseLosses, PulseRecipe, parse_pulse_recipe, pulse_recipe_text
from .pulse_steps import as_steps
from .pulse_traces import Traces, draw_traces

Say = Callable[[str], None]

HELD_OUT = 1_000_003
"""Added to the seed of clips that are not trained on."""
LEAST_SHARE = 0.02
"""Of the spectrum: a line that is lost costs no more than this."""
LONGEST = 10.0
"""Seconds of the longest window whose spectrum is looked at."""


class Clips(NamedTuple):
    """A batch of clips of one frame rate, as the learned part of the network takes them."""

    features: Features
    """Half precision, to save memory."""
    times: Tensor
    """float64 (N, T)"""
    wave: Tensor
    """float32 (N, T)"""
    alive: Tensor
    """bool (N,)"""

    def to(self, device: torch.device) -> "Clips":
        """The same there."""
        features = Features(*(part.to(device) for part in self.features))
        return Clips(features, self.times.to(device), self.wave.to(device), self.alive.to(device))


@dataclass(frozen=True, slots=True)
class TrainedPulse:
    """A trained network and how it came to be."""

    network: PulseNetwork
    """Averaged weights, on the CPU, in evaluation mode."""
    recipe: PulseRecipe
    folder: Path
    last: Mapping[str, float]
    """The last epoch's line of the history."""
    minutes: float


def train_pulse(
    recipe: PulseRecipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    say: Say = print,
) -> TrainedPulse:
    """Draw clips, train, validate after every epoch, and keep the averaged weights.

    Args:
        recipe: all that decides.
        out: folder of the run; made if it is not there.
        resume: go on from the folder's checkpoint if there is one.
        device: where; None: on a GPU where there is one.
        say: takes one line an epoch.

    Raises:
        TrainingError: the checkpoint does not go with the recipe, or the loss is no longer a
            number.
    """
    run = _Run(recipe, Path(out), device or training_device(), say)
    if resume:
        run.restore()
    run.epochs()
    return run.finish()


def as_clips(network: PulseNetwork, traces: Traces) -> Clips:
    """What the learned part of the network is trained on; on the CPU, which has the memory."""
    given = (traces.change, traces.seen, traces.motion, traces.seconds)
    device = device_of(network)
    features = network.observe_clip(*(torch.from_numpy(part).to(device) for part in given))
    return Clips(
        Features(*(part.half().cpu() for part in features)),
        torch.from_numpy(traces.times),
        torch.from_numpy(traces.wave),
        torch.from_numpy(traces.alive),
    )


def make_clips(
    network: PulseNetwork,
    recipe: PulseRecipe,
    seed: int,
    drawn: int,
    filmed: int,
    faces: Sequence[FaceClip] = (),
) -> list[Clips]:
    """Batches, each of another frame rate: so many drawn ones, filmed ones, and ones of faces.

    Args:
        network: its weightless part is run.
        recipe: sizes of the batches, and how many there are of faces.
        seed: of what is drawn.
        drawn: batches of drawn traces.
        filmed: batches of filmed skin.
        faces: rendered clips to draw from; no batches of faces without any.
    """
    made = []
    for index in range(drawn + filmed):
        rng = np.random.default_rng((seed, index))
        if index < drawn:
            traces = draw_traces(rng, recipe.batch)
        else:
            traces = film_traces(rng, recipe.batch, seconds=recipe.film_seconds)
        made.append(as_clips(network, as_steps(traces)))
    if faces:
        rng = np.random.default_rng((seed, drawn + filmed))
        for _ in range(recipe.faced):
            made.append(as_clips(network, face_traces(rng, faces, recipe.batch)))
    return made


def loss_of(
    network: PulseNetwork, clips: Clips, start: Tensor, end: Tensor, losses: PulseLosses
) -> Tensor:
    """The sum that is minimised, a scalar.

    Spectra as METHODS 8.4: the L1 distance to the unit-norm spectrum of the true wave, or to zero
    where there is no pulse; and, where there is one, the negative correlation with the wave and how
    little of the spectrum is the true line.

    Args:
        network: its learned part is run.
        clips: a batch.
        start: float64 (N,): first time of the window that is looked at.
        end: float64 (N,): its last time.
        losses: weights.
    """
    features = Features(*(part.float() for part in clips.features))
    face, cells, _ = network.judge_clip(features)
    waves = torch.cat([face[:, None], cells.transpose(1, 2)], dim=1)
    spectra = wave_spectrum(clips.times, waves, start, end)
    wanted = target_spectrum(clips, start, end)
    away = (spectra - wanted[:, None]).abs().sum(dim=2)
    inside = (clips.times >= start[:, None]) & (clips.times <= end[:, None])
    alike = correlation(waves, clips.wave[:, None], inside[:, None].float())
    unlike = (1 - alike) * clips.alive[:, None]
    astray = -torch.log(line_share(spectra, wanted[:, None]) + LEAST_SHARE)
    by_trace = losses.spectrum * away + losses.wave * unlike
    by_trace = by_trace + losses.line * astray * clips.alive[:, None]
    total: Tensor = by_trace[:, 0].mean() + losses.cells * by_trace[:, 1:].mean()
    return total


def target_spectrum(clips: Clips, start: Tensor, end: Tensor) -> Tensor:
    """(N, 50): of the true waves, unit L2 norm; zero where there is no pulse."""
    true = wave_spectrum(clips.times, clips.wave, start, end)
    unit: Tensor = true / true.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return unit * clips.alive[:, None]


def line_share(spectra: Tensor, wanted: Tensor) -> Tensor:
    """Share (...) of the power of spectra (..., 50) within 6 a minute of the wanted one's peak."""
    bins = torch.from_numpy(pulse_frequencies()).float().to(wanted.device)
    beat = bins[wanted.argmax(dim=-1)]
    near = (bins - beat[..., None]).abs() <= HALF_WIDTH_BPM / 60.0
    power = spectra.square()
    return (power * near).sum(dim=-1) / power.sum(dim=-1).clamp(min=1e-9)


def correlation(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Pearson's, along the last axis, of what has weight."""
    total = weight.sum(dim=-1, keepdim=True).clamp(min=1.0)
    found = (found - (found * weight).sum(dim=-1, keepdim=True) / total) * weight
    wanted = (wanted - (wanted * weight).sum(dim=-1, keepdim=True) / total) * weight
    sizes = (found.square().sum(dim=-1) * wanted.square().sum(dim=-1) + 1e-12).sqrt()
    return (found * wanted).sum(dim=-1) / sizes


@torch.no_grad()
def validated(network: PulseNetwork, batches: Sequence[Clips]) -> dict[str, float]:
    """How the network does on clips: heart rates found, and living told from others."""
    device = device_of(network)
    frequencies = 60.0 * torch.from_numpy(pulse_frequencies()).to(device)
    misses, powers, alive, agreement = [], [], [], []
    for kept in batches:
        clips = kept.to(device)
        features = Features(*(part.float() for part in clips.features))
        face, _, _ = network.judge_clip(features)
        end = clips.times[:, -1]
        start = torch.maximum(clips.times[:, 0] + 1.0, end - LONGEST)
        found = wave_spectrum(clips.times, face, start, end)
        true = target_spectrum(clips, start, end)
        miss = (frequencies[found.argmax(dim=1)] - frequencies[true.argmax(dim=1)]).abs()
        misses.append(miss[clips.alive])
        powers.append(found.square().sum(dim=1))
        alive.append(clips.alive)
        inside = (clips.times >= start[:, None]).float()
        agreement.append(correlation(face, clips.wave, inside)[clips.alive])
    miss, living = torch.cat(misses), torch.cat(alive)
    power = torch.cat(powers)
    higher = (power[living][:, None] > power[~living]).float().mean()
    return {
        "found": float((miss <= 6.0).float().mean()),
        "mae_bpm": float(miss.mean()),
        "correlation": float(torch.cat(agreement).mean()),
        "auc": float(higher),
        "power_live": float(power[living].mean()),
        "power_attack": float(power[~living].mean()),
    }


class _Run:
    """One training run: its network, optimiser, clips and progress."""

    def __init__(self, recipe: PulseRecipe, folder: Path, device: torch.device, say: Say) -> None:
        self.recipe, self.folder, self.device, self.say = recipe, folder, device, say
        torch.manual_seed(recipe.seed)
        self.network = build_pulse(recipe)
        self.average = WeightAverage(self.network, recipe.average)
        self.network.to(device)
        self.average.network.to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> bool:
        """Whether the epochs or the time are used up."""
        return self.progress.over(self.recipe.epochs, self.recipe.max_minutes)

    def epochs(self) -> None:
        """All that are left."""
        # Not before: a run that is refused keeps the recipe that it was made with.
        write_whole(self.folder / "recipe.yaml", pulse_recipe_text(self.recipe))
        if self.done:
            return
        began, recipe = time.monotonic(), self.recipe
        self.say("rendering, drawing and filming clips")
        faces = self._faces()
        clips = make_clips(self.network, recipe, recipe.seed, recipe.drawn, recipe.filmed, faces)
        seed, few = recipe.seed + HELD_OUT, recipe.validation
        held_out = make_clips(self.network, recipe, seed, few, few // 5 if recipe.filmed else 0)
        drawn = time.monotonic() - began
        self.say(f"made {(len(clips) + len(held_out)) * recipe.batch} clips in {drawn:.0f} s")
        self.progress.seconds += drawn
        while not self.done:
            self.epoch(clips, held_out)

    def _faces(self) -> list[FaceClip]:
        recipe = self.recipe
        if not recipe.faced:
            return []

        def told(done: int, total: int) -> None:
            if done in (1, total):
                self.say(f"faces: {done} of {total}")

        folder = self.folder / "faces"
        return face_clips(folder, recipe.faces_beating, recipe.faces_still, recipe.seed, told)

    def epoch(self, clips: Sequence[Clips], held_out: Sequence[Clips]) -> None:
        """Every batch once, validation, and the checkpoint."""
        began, progress = time.monotonic(), self.progress
        rng = np.random.default_rng((self.recipe.seed, progress.epoch, 7))
        already, total = progress.seconds, 0.0
        filmed = np.arange(self.recipe.drawn, self.recipe.drawn + self.recipe.filmed)
        looks = np.concatenate([np.arange(len(clips)), *[filmed] * (self.recipe.film_looks - 1)])
        for index in rng.permutation(looks):
            total += self._step(clips[index], rng, len(looks))
            progress.seconds = already + time.monotonic() - began
        progress.epoch += 1
        line = {"epoch": float(progress.epoch), "loss": total / len(looks)}
        few = self.recipe.validation
        line |= validated(self.average.network, held_out[:few])
        if filmed_ones := held_out[few:]:
            on_film = validated(self.average.network, filmed_ones)
            line |= {f"{name}_filmed": value for name, value in on_film.items()}
        progress.seconds = already + time.monotonic() - began
        line["minutes"] = progress.seconds / 60
        progress.history.append(line)
        self._keep()
        self.say(" | ".join(f"{name} {value:.4g}" for name, value in line.items()))

    def _step(self, clips: Clips, rng: np.random.Generator, steps: int) -> float:
        set_rate(self.optimiser, self.recipe, self.progress, steps)
        start, end = (bound.to(self.device) for bound in _windows(clips.times, rng))
        loss = loss_of(self.network, clips.to(self.device), start, end, self.recipe.losses)
        return learn_from(loss, self._learner, self.folder)

    def _keep(self) -> None:
        self._learner.keep(self.folder, {"recipe": pulse_recipe_text(self.recipe)})

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; the recipe may ask for a longer run."""
        self._learner.restore(self.folder, self._check)

    @property
    def _learner(self) -> Learner:
        return Learner(self.network, self.average, self.optimiser, self.progress)

    def _check(self, path: Path, state: Mapping[str, Any]) -> None:
        check_recipe(path, parse_pulse_recipe(yaml.safe_load(state["recipe"])), self.recipe)

    def finish(self) -> TrainedPulse:
        """The averaged network, saved as ``network.pt``."""
        network = build_pulse(self.recipe)
        network.load_state_dict(self.average.network.state_dict())
        network.eval()
        save_state({"network": network.state_dict()}, self.folder / "network.pt")
        progress = self.progress
        return TrainedPulse(
            network, self.recipe, self.folder, progress.history[-1], progress.seconds / 60
        )


def build_pulse(recipe: PulseRecipe) -> PulseNetwork:
    """The recipe's network with the random weights of its seed."""
    torch.manual_seed(recipe.seed)
    choice = recipe.network
    return PulseNetwork(cell_size=choice.cell_size, face_size=choice.face_size)


def _windows(times: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A window of 5 to 10 s of each clip, not in its first second."""
    count = len(times)
    first, last = times[:, 0] + 1.0, times[:, -1]
    length = torch.from_numpy(rng.uniform(5.0, LONGEST, count))
    length = torch.minimum(length, last - first)
    slack = (last - first) - length
    end = last - slack * torch.from_numpy(rng.uniform(0.0, 1.0, count))
    return end - length, end
