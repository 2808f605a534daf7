"""The same recipe on several workers or hosts, through Ray Train.

Any launcher that sets ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE`` and ``MASTER_ADDR`` as torchrun
does will do: :func:`fabric_among_workers` asks nothing else.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy

from ..engines.errors import BackendMissing
from .crops import open_crops
from .recipe import Recipe, parse_recipe, recipe_text
from .training import PRECISIONS, Say, Trained, computed_in, train, train_beside_others


def fabric_among_workers(recipe: Recipe) -> Fabric:
    """This worker's place among the others, as the launcher's environment variables tell it."""
    world = int(os.environ["WORLD_SIZE"])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    os.environ.setdefault("GROUP_RANK", os.environ.get("NODE_RANK", "0"))
    fabric = Fabric(
        accelerator="auto",
        devices=here,
        num_nodes=world // here,
        strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment()),
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
    """Train on ``workers`` workers of a Ray cluster, or of this machine where none is joined.

    Crop stores and the run's folder must be at the same place on every host.

    Raises:
        BackendMissing: Ray is not installed.
        TrainingError: as of :func:`padflow.trainers.training.train`.
    """
    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise BackendMissing(
            f"{workers} workers: expected Ray Train, found none; install it with "
            "pip install 'ray[train]', or train with one worker"
        ) from error
    import torch

    settings = {
        "recipe": recipe_text(recipe),
        "data": [str(folder.resolve()) for folder in data],
        "out": str(out.resolve()),
        "extra": [str(folder.resolve()) for folder in extra_validation],
        "resume": resume,
    }
    trainer = TorchTrainer(
        _work,
        train_loop_config=settings,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=torch.cuda.is_available()),
        run_config=RunConfig(storage_path=str(out.resolve() / "ray")),
    )
    trainer.fit()
    return train(
        recipe, open_crops(*data), out, extra_validation=extra_validation, resume=True, say=say
    )


def _work(settings: dict[str, Any]) -> None:
    """What runs on each worker; Ray has set up the process group."""
    import yaml

    recipe = parse_recipe(yaml.safe_load(settings["recipe"]))
    train_beside_others(
        recipe,
        open_crops(*settings["data"]),
        settings["out"],
        fabric_among_workers(recipe),
        extra_validation=settings["extra"],
        resume=settings["resume"],
    )
