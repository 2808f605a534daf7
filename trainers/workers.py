"""The same recipe on several workers or hosts, through Ray Train.

Any launcher that sets ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE`` and ``MASTER_ADDR`` as torchrun
does will do: :func:`fabric_among_workers` asks nothing else.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy

from ..engines.errors import BackendMissing
from ..graph.ray_join import cluster
from .checkpoint import HISTORY
from .crops import open_crops
from .recipe import Recipe, TrainingError, TrainingFailed, parse_recipe, recipe_text
from .training import PRECISIONS, Say, Trained, computed_in, told, train, train_beside_others


class _Launched(TorchElasticEnvironment):
    """As the launcher counted: machines need not have equally many workers."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Lightning has the number of machines times this one's workers be that of all."""


def fabric_among_workers(recipe: Recipe, accelerator: str = "auto") -> Fabric:
    """This worker's place among the others, as the launcher's environment variables tell it.

    Args:
        recipe: Its precision is computed in.
        accelerator: ``cpu``, ``cuda``, or ``auto``: a GPU for each worker where there are some.
    """
    world = int(os.environ["WORLD_SIZE"])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    os.environ.setdefault("GROUP_RANK", os.environ.get("NODE_RANK", "0"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=world // here,
        strategy=DDPStrategy(cluster_environment=_Launched()),
        precision=PRECISIONS[computed_in(recipe)],
    )
    fabric.launch()
    return fabric


def train_on_workers(
    recipe: Recipe,
    data: Sequence[Path],
    out: Path,
    workers: int,
    *,
    extra_validation: Sequence[Path] = (),
    resume: bool = False,
    say: Say = print,
) -> Trained:
    """Train on ``workers`` workers of the Ray cluster of ``RAY_ADDRESS``, or of this machine.

    Crop stores and the run's folder must be at the same place on every host.

    Args:
        recipe: As of :func:`padflow.trainers.training.train`, like the rest.
        data: Crop stores.
        out: The run's folder.
        workers: How many; each wants a processor, or a GPU where there are some.
        extra_validation: Crop stores that every epoch is also measured on.
        resume: Go on from the folder's checkpoint.
        say: Takes a line an epoch.

    Raises:
        BackendMissing: Ray Train is not installed.
        TrainingError: the cluster has too few processors or a worker failed; or as of
            :func:`padflow.trainers.training.train`.
        GraphError: there is no cluster at ``RAY_ADDRESS``.
    """
    try:
        import_module("ray.train")
        from ray.train.v2.api.exceptions import TrainingFailedError
    except ImportError as error:
        raise BackendMissing(
            f"{workers} workers: expected Ray Train, found none; install it with "
            "pip install 'padflow[cluster-train]', or train with one worker"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "recipe": recipe_text(recipe),
        "data": [str(folder.resolve()) for folder in data],
        "out": str(out.resolve()),
        "extra": [str(folder.resolve()) for folder in extra_validation],
        "resume": resume,
    }
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        with (
            cluster(address) as ray,
            _telling(out / HISTORY, recipe.epochs, say),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # Ray's notes on its own deprecated settings.
            _trainer(ray, settings, out, workers).fit()
    except TrainingFailedError as error:
        raise TrainingFailed(
            f"{workers} workers: one could not go on: {_cause(error)}; what was learned before "
            "is kept, go on with --resume"
        ) from error
    return train(
        recipe, open_crops(*data), out, extra_validation=extra_validation, resume=True, say=say
    )


def _trainer(ray: Any, settings: dict[str, Any], out: Path, workers: int) -> Any:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = ray.cluster_resources()
    gpu = _on_gpus(resources)
    kind, noun = ("GPU", "GPUs") if gpu else ("CPU", "processors")
    there = int(resources.get(kind, 0))
    if there < workers:  # Ray would wait for them for ever.
        raise TrainingError(
            f"{workers} workers: expected as many {noun} in the Ray cluster, found {there}; ask "
            "for fewer, or join a larger cluster with RAY_ADDRESS"
        )
    return TorchTrainer(
        _work,
        train_loop_config=settings | {"accelerator": "cuda" if gpu else "cpu"},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(storage_path=str(out.resolve() / "ray")),
    )


def _on_gpus(resources: Mapping[str, float]) -> bool:
    """Whether the cluster has GPUs that torch can use: this machine, its head, may have none."""
    import torch

    return resources.get("GPU", 0) >= 1 and torch.version.cuda is not None


@contextmanager
def _telling(history: Path, epochs: int, say: Say) -> Iterator[None]:
    """Tell every epoch that the first worker writes down meanwhile: Ray's own logs are not read."""
    over = Event()

    def follow(known: int) -> None:
        last = False
        while not last:
            last = over.wait(1.0)
            lines = _epochs(history)
            for line in lines[known:]:
                say(told(line, epochs))
            known = max(known, len(lines))

    before = (len(_epochs(history)),)
    thread = Thread(target=follow, args=before, name="padflow-epochs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _epochs(history: Path) -> list[dict[str, Any]]:
    if not history.is_file():
        return []
    return [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]


def _cause(error: BaseException) -> str:
    """The first worker's error, or Ray's own, in one line."""
    failures = getattr(error, "worker_failures", None) or {}
    first = next(iter(failures.values()), error)
    text = str(getattr(first, "cause", None) or first).strip()
    return text.splitlines()[-1] if text else type(first).__name__


def _work(settings: dict[str, Any]) -> None:
    """What runs on each worker; Ray has set up the process group."""
    import yaml

    recipe = parse_recipe(yaml.safe_load(settings["recipe"]))
    train_beside_others(
        recipe,
        open_crops(*settings["data"]),
        settings["out"],
        fabric_among_workers(recipe, settings["accelerator"]),
        extra_validation=settings["extra"],
        resume=settings["resume"],
    )
