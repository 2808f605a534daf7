"""Train a network on crop stores: resumable, the same for the same seed, told epoch by epoch.

    train(load_recipe("patch_light"), open_crops("store"), "run", extra_validation=["real"])

The folder of a run holds ``recipe.yaml``, ``history.jsonl`` (one object an epoch),
``checkpoint.pt`` (all that a resumed run needs), ``best.pt`` and, at the end, ``network.pt``: the
averaged weights of the best epoch with the strangeness fitted.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from ..engines.whole_file import write_whole
from .average import WeightAverage
from .batches import Batch, Batches
from .checkpoint import (
    CHECKPOINT,
    Progress,
    check_held_out,
    check_recipe,
    check_start,
    keep_history,
    load_state,
    save_state,
)
from .crops import CropStore, open_crops
from .holdout import Split, split
from .networks import CropNetwork, NetworkOptions, Outputs, build_network
from .networks.layers import contrastive_depth_loss
from .recipe import Losses, Recipe, TrainingError, TrainingFailed, parse_recipe, recipe_text
from .scoring import measures, score_rows, spread
from .strangeness import fit_strangeness, widen_strangeness
from .weights import Weights, between, use_weights, weights_of

LARGEST_GRADIENT = 5.0
"""Norm to which the gradient of a step is cut."""
PRECISIONS: Mapping[str, Literal["32-true", "bf16-mixed"]] = {
    "f32": "32-true",
    "bf16": "bf16-mixed",
}
"""Lightning's name of a recipe's precision."""
LAST_RATE = 0.01
"""Share of the learning rate that is left at the end."""
_TAKEN = frozenset(("epoch", "loss", "steps_per_s", "crops_per_s", "minutes", "validation", "last"))
"""What an epoch's line, or ``select_by``, calls something else than an extra validation store."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network and how it came to be."""

    network: CropNetwork
    """Averaged weights of the best epoch, strangeness fitted, on the CPU, in evaluation mode."""
    recipe: Recipe
    store: CropStore
    split: Split
    folder: Path
    """Of the run."""
    best: Mapping[str, Any]
    """The best epoch's line of the history."""
    minutes: float
    """Of training and validation, resumed runs included."""


@dataclass(slots=True)
class BestProgress(Progress):
    """And the best epoch so far."""

    best_error: tuple[float, float] = (math.inf, math.inf)


def train(
    recipe: Recipe,
    store: CropStore,
    out: Path | str,
    *,
    extra_validation: Sequence[Path | str] | Mapping[str, CropStore] = (),
    resume: bool = False,
    tensorboard: bool | None = None,
    fabric: Fabric | None = None,
    start: Weights | None = None,
    say: Say = print,
) -> Trained:
    """Train, validate after every epoch, and keep the best.

    Args:
        recipe: all that decides beside the data.
        store: crops to learn from and, by the recipe's rule, to validate on.
        out: folder of the run; made if it is not there.
        extra_validation: stores, such as one of real attacks, that every epoch is also measured
            on, by name or called after their folders; they choose nothing unless the recipe's
            ``select_by`` names one.
        resume: go on from the folder's checkpoint if there is one.
        tensorboard: write logs for TensorBoard; None: where it is installed.
        fabric: precision and place; None: one device, a GPU where there is one.
        start: weights to start from, such as a bundle's; None: random ones. Where the recipe's
            ``share_of_learned`` is under 1, the network is drawn back towards them in the end; the
            epochs' measures are those of what was learned.
        say: takes one line an epoch.

    Raises:
        TrainingError: the data, the weights or the checkpoint do not go with the recipe, or the
            loss is no longer a number.
    """
    run = _Run(recipe, store, Path(out), _named(extra_validation), fabric, say, start)
    run.epochs(resume=resume, tensorboard=tensorboard)
    return run.finish()


def train_beside_others(
    recipe: Recipe,
    store: CropStore,
    out: Path | str,
    fabric: Fabric,
    *,
    extra_validation: Sequence[Path | str] = (),
    resume: bool = False,
    say: Say = print,
) -> None:
    """One worker's part of :func:`train`; the run is finished by ``train(…, resume=True)``.

    Every worker draws crops of its own, gradients are averaged, and the first one validates and
    writes. The batch of a step is the recipe's times the number of workers.

    Raises:
        TrainingError: as of :func:`train`.
    """
    run = _Run(recipe, store, Path(out), _named(extra_validation), fabric, say)
    run.epochs(resume=resume, tensorboard=None if run.is_first else False)


def computed_in(recipe: Recipe) -> Literal["f32", "bf16"]:
    """The recipe's precision, or f32 where the processor or GPU has no bf16.

    Imitating it takes four times as long as f32 (measured with AVX2).
    """
    if recipe.precision == "f32":
        return "f32"
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return "bf16" if able else "f32"


def taken_as_it_is(
    recipe: Recipe,
    store: CropStore,
    out: Path | str,
    start: Weights,
    *,
    extra_validation: Sequence[Path | str] = (),
) -> Trained:
    """A network with given weights and no training, to be calibrated on other people.

    The recipe's ``hold_out`` must keep out whom and what those weights were learned without.

    Raises:
        TrainingError: the weights are another network's, or the split is empty on one side.
    """
    found = split(store, recipe.hold_out, recipe.leave_out_sources)
    network = build(recipe)
    use_weights(network, start)
    network.eval()
    batches = Batches(store, found.train, recipe, network.crop)
    fit_strangeness(network, store, replace(found, train=batches.rows))
    line: dict[str, Any] = {"epoch": 0}
    for name, extra in _named(extra_validation).items():
        rows = spread(extra, np.arange(len(extra)), recipe.validation_crops)
        line[name] = measures(extra, rows, score_rows(network, extra, rows).by_row(len(rows)))
    return Trained(network, recipe, store, found, Path(out), line, 0.0)


def use_threads(count: int) -> None:
    """Compute with so many threads of the CPU from now on; at first it is one for each core."""
    torch.set_num_threads(count)


def build(recipe: Recipe) -> CropNetwork:
    """The recipe's network with the random weights of its seed."""
    torch.manual_seed(recipe.seed)
    choice = recipe.network
    options = NetworkOptions(embedding=choice.embedding, theta=choice.theta, width=choice.width)
    return build_network(choice.name, options)


def loss_of(outputs: Outputs, batch: Mapping[str, Tensor], losses: Losses) -> Tensor:
    """The sum that is minimised, a scalar.

    Args:
        outputs: of a batch of N.
        batch: ``live`` float (N,), ``depth`` float (N, 32, 32), ``depth_weight`` float (N,).
        losses: weights.
    """
    target = batch["live"] * (1 - losses.smoothing) + losses.smoothing / 2
    judged = functional.binary_cross_entropy_with_logits
    total = losses.score * judged(outputs.score, target)
    if outputs.parts is not None:
        total = total + losses.score * judged(outputs.parts, target)
    if outputs.depth is None:
        return total
    weight = batch["depth_weight"][:, None, None]
    found, wanted = outputs.depth * weight, batch["depth"] * weight
    norm = functional.l1_loss if losses.depth_norm == "l1" else functional.mse_loss
    total = total + losses.depth * norm(found, wanted)
    if losses.contrastive:
        total = total + losses.contrastive * contrastive_depth_loss(found, wanted)
    return total


def rate_at(progress: float, warm_up: float) -> float:
    """Share of the learning rate at a share of the run: linear rise, then half a cosine."""
    if progress < warm_up:
        return max(progress / warm_up, LAST_RATE)
    fallen = min(1.0, (progress - warm_up) / max(1e-9, 1 - warm_up))
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * fallen))


class _Run:
    """One training run: its network, optimiser and progress."""

    def __init__(
        self,
        recipe: Recipe,
        store: CropStore,
        folder: Path,
        extra: Mapping[str, CropStore],
        fabric: Fabric | None,
        say: Say,
        start: Weights | None = None,
    ) -> None:
        known = {"validation", "last", *extra}
        if recipe.select_by not in known:
            raise TrainingError(
                f"recipe {recipe.name}: select_by: expected one of {', '.join(sorted(known))}, "
                f"found {recipe.select_by!r}; give that store as an extra validation"
            )
        self.recipe, self.store, self.folder, self.extra, self.say = (
            recipe,
            store,
            folder,
            extra,
            say,
        )
        if start is None and recipe.share_of_learned < 1:
            raise TrainingError(
                f"recipe {recipe.name}: share_of_learned: expected 1 without weights to start "
                f"from, found {recipe.share_of_learned:g}; give some, or leave it out"
            )
        if recipe.hold_out.nobody and recipe.select_by == "validation":
            raise TrainingError(
                f"recipe {recipe.name}: select_by: expected 'last' with nobody held out, found "
                "'validation'; nobody is left to choose an epoch by"
            )
        self.split = split(store, recipe.hold_out, recipe.leave_out_sources)
        self.bf16 = computed_in(recipe) == "bf16"
        self.fabric = fabric or _fabric(recipe)
        network = _channels_last(build(recipe))
        self.start = None if start is None else network.grown(start)
        """Other weights that it goes on from, some of which may stay as they are."""
        if self.start is not None:
            use_weights(network, self.start)
        network.colour.fused = recipe.fuse_colour
        self.batches = Batches(store, self.split.train, recipe, network.crop)
        optimiser = torch.optim.AdamW(_groups(network, recipe), lr=recipe.learning_rate)
        self.average = WeightAverage(network, recipe.average)
        self.average.network.to(self.fabric.device)
        self.average.network.colour.fused = recipe.fuse_colour
        self.network, self.optimiser = self.fabric.setup(network, optimiser)
        self.progress = BestProgress()
        self.learned = _learned_from(store, self.split)
        """Whom and what it learns from, by the split's attribute that holds some out; those of
        resumed runs included."""
        self.clock = 0.0
        """Seconds at the start of the epoch, the same for all workers."""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that validates and writes."""
        return self.fabric.is_global_zero

    @property
    def done(self) -> bool:
        """Whether the epochs or the time are used up."""
        limit = self.recipe.max_minutes
        late = limit is not None and self._greatest(self.progress.seconds) >= 60 * limit
        return late or self.progress.epoch >= self.recipe.epochs

    def _greatest(self, here: float) -> float:
        """The greatest of the workers' values, so that all of them decide alike."""
        if self.fabric.world_size == 1:
            return here
        value = torch.tensor(here, dtype=torch.float64, device=self.fabric.device)
        told = self.fabric.all_reduce(value, reduce_op="max")
        assert isinstance(told, Tensor)
        return float(told.item())

    def epochs(self, *, resume: bool, tensorboard: bool | None) -> None:
        """All that are left."""
        if resume:
            self.restore()
        if self.is_first:
            # Not before: a run that is refused keeps the recipe that it was made with.
            write_whole(self.folder / "recipe.yaml", recipe_text(self.recipe))
        with _board(self.folder, tensorboard) as board:
            while not self.done:
                self.epoch(board)

    def epoch(self, board: "_Board") -> None:
        """Train for one epoch, validate, and write the checkpoint."""
        began = time.monotonic()
        progress, recipe = self.progress, self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + progress.epoch)
        self.clock = self._greatest(progress.seconds)
        total, already = 0.0, progress.seconds
        batches = self.batches.epoch(
            progress.epoch, rank=self.fabric.global_rank, world=self.fabric.world_size
        )
        with closing(batches):
            for batch in batches:
                total += self._step(batch)
                progress.seconds = already + time.monotonic() - began
        trained = time.monotonic() - began
        progress.epoch += 1
        line: dict[str, Any] = {
            "epoch": progress.epoch,
            "loss": total / self.batches.steps,
            "steps_per_s": self.batches.steps / trained,
            "crops_per_s": self.batches.steps * recipe.batch * self.fabric.world_size / trained,
        }
        if self.is_first:
            line |= self._validated()
        progress.seconds = already + time.monotonic() - began
        line["minutes"] = progress.seconds / 60
        if self.is_first:
            self._keep(line)
            board.write(line)
            self.say(told(line, recipe.epochs))
        self.fabric.barrier()

    def _step(self, batch: Batch) -> float:
        recipe, progress = self.recipe, self.progress
        share = progress.step / (recipe.epochs * self.batches.steps)
        if recipe.max_minutes is not None:
            alone = self.fabric.world_size == 1
            seconds = progress.seconds if alone else self.clock
            share = max(share, seconds / (60 * recipe.max_minutes))
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate_at(share, recipe.warm_up)
        tensors = {
            name: torch.from_numpy(array).to(self.fabric.device)
            for name, array in asdict(batch).items()
        }
        loss = loss_of(self.network(tensors["image"]), tensors, recipe.losses)
        value = loss.item()
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.network, self.optimiser, max_norm=LARGEST_GRADIENT, error_if_nonfinite=False
        )
        if not (math.isfinite(value) and norm is not None and math.isfinite(norm.item())):
            raise TrainingFailed(
                f"{self.folder}: the loss is {value} and its gradient {norm} at step "
                f"{progress.step + 1}; lower the recipe's learning_rate, or train in precision f32"
            )
        self.optimiser.step()
        self.average.update(self._bare())
        progress.step += 1
        return value

    def _bare(self) -> CropNetwork:
        network = self.network.module
        bare = network.module if hasattr(network, "module") else network
        assert isinstance(bare, CropNetwork)
        return bare

    def _validated(self) -> dict[str, dict[str, float]]:
        found = {}
        if len(self.split.validation):
            found["validation"] = self._measured(self.store, self.split.validation)
        for name, store in self.extra.items():
            found[name] = self._measured(store, np.arange(len(store)))
        return found

    def _measured(self, store: CropStore, rows: np.ndarray[Any, Any]) -> dict[str, float]:
        rows = spread(store, rows, self.recipe.validation_crops)
        scored = score_rows(self.average.network, store, rows, bf16=self.bf16)
        return measures(store, rows, scored.by_row(len(rows)))

    def _keep(self, line: dict[str, Any]) -> None:
        """Write checkpoint and history, and the weights where they are the best so far."""
        progress = self.progress
        error = self._error(line)
        if error <= progress.best_error:
            progress.best_error = error
            save_state({"network": self.average.network.state_dict(), "line": line}, self._best)
        progress.history.append(line)
        state = {
            "network": self._bare().state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.network.state_dict(),
            "average_steps": self.average.steps,
            "recipe": recipe_text(self.recipe),
            "started": self.start is not None,
            "learned_from": {kind: sorted(names) for kind, names in self.learned.items()},
            "progress": asdict(progress),
            "random": torch.get_rng_state(),
        }
        save_state(state, self.folder / CHECKPOINT)
        keep_history(progress.history, self.folder)

    def _error(self, line: Mapping[str, Any]) -> tuple[float, float]:
        if self.recipe.select_by == "last":
            return (-float(line["epoch"]), 0.0)
        found = line[self.recipe.select_by]
        if "eer" not in found:
            raise TrainingError(
                f"the store {self.recipe.select_by} has only live crops or only attacks: it cannot "
                "choose the best epoch; change the recipe's select_by"
            )
        return (found["eer"], 1 - found["auc"])

    @property
    def _best(self) -> Path:
        return self.folder / "best.pt"

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; the recipe may ask for a longer run."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        state = load_state(path)
        check_recipe(path, parse_recipe(yaml.safe_load(state["recipe"])), self.recipe)
        starts = self.start is not None
        check_start(path, state.get("started", starts), starts)
        before = state.get("learned_from", {})  # none in checkpoints of before
        for kind, names in self.learned.items():
            known = set(before.get(kind, ()))
            check_held_out(path, kind, known, getattr(self.split, kind))
            names |= known
        self._bare().load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        kept = state["progress"]
        self.progress = BestProgress(**kept | {"best_error": tuple(kept["best_error"])})
        torch.set_rng_state(state["random"])

    def finish(self) -> Trained:
        """The best epoch's network, with the strangeness fitted, saved as ``network.pt``."""
        best = load_state(self._best)
        network = build(self.recipe)
        network.load_state_dict(best["network"])
        if self.start is not None:
            share = self.recipe.share_of_learned
            use_weights(network, between(self.start, weights_of(network), share))
        network.eval()
        learned = replace(self.split, train=self.batches.rows)
        fit_strangeness(network, self.store, learned)
        if self.start is not None and not len(learned.validation):
            widen_strangeness(network, self._begun(), self.store, learned.train)
        if self.is_first:
            save_state({"network": network.state_dict()}, self.folder / "network.pt")
        return Trained(
            network,
            self.recipe,
            self.store,
            self.split,
            self.folder,
            best["line"],
            self.progress.seconds / 60,
        )

    def _begun(self) -> CropNetwork:
        """The network that the run went on from."""
        assert self.start is not None
        network = build(self.recipe)
        use_weights(network, self.start)
        return network.eval()


def _learned_from(store: CropStore, found: Split) -> dict[str, set[str]]:
    rows = [store.rows[int(i)] for i in found.train]
    media = {row.medium for row in rows} - {"", *found.media}  # a sole medium is on both sides
    return {"persons": {row.person for row in rows}, "media": media}


class _Board:
    """TensorBoard's writer, or nothing."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def __enter__(self) -> "_Board":
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """All numbers of an epoch."""
        if self.writer is None:
            return
        for name, value in line.items():
            for part, number in (value if isinstance(value, dict) else {"": value}).items():
                tag = f"{name}/{part}" if part else name
                self.writer.add_scalar(tag, number, line["epoch"])


def _board(folder: Path, wanted: bool | None) -> _Board:
    if wanted is False:
        return _Board(None)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if wanted is None:
            return _Board(None)
        raise TrainingError(
            "tensorboard: is not installed; install it, or train without its logs"
        ) from error
    return _Board(SummaryWriter(str(folder / "tensorboard")))


def _named(extra: Sequence[Path | str] | Mapping[str, CropStore]) -> dict[str, CropStore]:
    names = list(extra) if isinstance(extra, Mapping) else [Path(place).name for place in extra]
    for name in names:
        if name in _TAKEN or names.count(name) > 1:
            raise TrainingError(
                f"extra validation: expected stores with names of their own and none of "
                f"{', '.join(sorted(_TAKEN))}, found {name!r}; rename its folder"
            )
    if isinstance(extra, Mapping):
        return dict(extra)
    return {name: open_crops(place) for name, place in zip(names, extra, strict=True)}


def _fabric(recipe: Recipe) -> Fabric:
    return Fabric(accelerator="auto", devices=1, precision=PRECISIONS[computed_in(recipe)])


def _channels_last(network: CropNetwork) -> CropNetwork:
    """The network with its kernels in the order of memory that convolutions like best."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def told(line: Mapping[str, Any], epochs: int) -> str:
    """A line of the history for people; ``epochs`` is how many there will be."""
    parts = [f"epoch {line['epoch']}/{epochs}", f"loss {line['loss']:.4f}"]
    for name, found in line.items():
        if isinstance(found, dict):
            rates = " ".join(
                f"{rate.upper()} {found[rate]:.3f}"
                for rate in ("auc", "eer", "acer", "clip_auc", "bpcer", "apcer")
                if rate in found
            )
            parts.append(f"{name}: {rates}")
    parts.append(f"{line['steps_per_s']:.2f} steps/s {line['crops_per_s']:.0f} crops/s")
    parts.append(f"{line['minutes']:.1f} min")
    return " | ".join(parts)
