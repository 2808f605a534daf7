"""A bundle: a folder with a manifest (bundle.json), ONNX files, and the manifest's SHA-256.

    depth/
        bundle.json     what the network is, takes and gives, and the SHA-256 of every file
        SHA256SUMS      the SHA-256 of bundle.json, in the form that `sha256sum -c` reads
        depth.onnx
        depth-int8.onnx

Everything is checked on every load, and nothing is ever unpickled. The sums find damage and
careless edits; who can write to the folder can also write new sums, so guard the folder.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from annotated_types import Ge, Gt, MinLen
from pydantic import FiniteFloat, StringConstraints, TypeAdapter, ValidationError

from .composed import FeatureRule, on_features
from .errors import BundleError
from .network import Network, Precision, TensorSpec
from .onnx_file import has_external_data
from .store import file_sha256, model_folder

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
SUMS = "SHA256SUMS"
SHIPPED = Path(__file__).parent / "bundles"

_MOST_MANIFEST_BYTES = 1_000_000
_STRICT: dict[str, str] = {"extra": "forbid"}
_FILE_OF: Mapping[Precision, tuple[str, ...]] = {
    "auto": ("int8", "f32", "f16", "bf16"),
    "f32": ("f32",),
    "f16": ("f16", "f32"),
    "bf16": ("bf16", "f32"),
    "int8": ("int8",),
}
"""Which file serves which wish, best first. An int8 file is only there if it earns its place."""
_PRECISIONS: Mapping[str, Precision] = {"f32": "f32", "f16": "f16", "bf16": "bf16", "int8": "int8"}

Text = Annotated[str, MinLen(1)]
Role = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
"""``f32``, ``f16``, ``bf16`` and ``int8`` are networks of that precision; others are papers."""
Setting = str | int | FiniteFloat | bool | tuple[str, ...]
"""Of a training; a tuple holds names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the network is."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    task: Text
    """What it tells, in one sentence."""
    licence: Text
    """SPDX expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file of the bundle."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    path: Text
    """Relative to the bundle's folder, with forward slashes."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Gt(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRule:
    """How the network's picture is cut from the frame."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    scale: Annotated[FiniteFloat, Gt(0)]
    """Side of the square crop over the longer side of the face's box."""
    size: Annotated[int, Gt(0)]
    """Side of the crop as the network takes it, in pixels."""
    alignment: Literal["upright", "eyes", "mesh"]
    """``upright``: as in the frame; ``eyes``: rotated to level them; ``mesh``: registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the network's score becomes a log-likelihood ratio in nats (positive: live)."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    method: Text
    parameters: Mapping[str, FiniteFloat]
    fitted_on: Text
    """Data that it was fitted on; none of it may be training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measured number and how it was measured."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: Text
    value: FiniteFloat
    unit: str
    data: Text
    method: Text
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    """Confidence interval; the method says at which level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the network came to be."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    data: Annotated[tuple[Text, ...], MinLen(1)]
    recipe: Text
    seed: Annotated[int, Ge(0)]
    settings: Mapping[str, Setting]

    def held_out(self, what: str) -> tuple[str, ...]:
        """Names of the ``persons`` or ``media`` that were held out; earlier bundles have one text.

        In that text a name that holds a comma cannot be told from two.
        """
        told = self.settings.get(f"held_out_{what}", ())
        if isinstance(told, str):
            return tuple(told.split(", ")) if told else ()
        return told if isinstance(told, tuple) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What bundle.json says."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    about: About
    inputs: Annotated[tuple[TensorSpec, ...], MinLen(1)]
    outputs: Annotated[tuple[TensorSpec, ...], MinLen(1)]
    training: Training
    metrics: tuple[Metric, ...]
    crop: CropRule | None = None
    features: FeatureRule | None = None
    """Set where the files take a third-party network's features instead of the picture."""
    calibration: Calibration | None = None
    files: Mapping[Role, BundleFile]
    format_version: int = FORMAT_VERSION

    @property
    def edition(self) -> str:
        """SHA-256 that all precisions of one training share: of the weights, or else of a file."""
        for role in ("weights", "f32", *sorted(self.files)):
            if role in self.files:
                return self.files[role].sha256
        return ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has been read and verified."""

    folder: Path
    manifest: Manifest

    def network(self, precision: Precision = "auto") -> Network:
        """The network of that precision, for a backend.

        Raises:
            BundleError: the bundle has no such network, or it does not go with the third-party
                network whose features it takes.
            ModelMissing: that one has not been pulled.
        """
        files = self.manifest.files
        role = next((role for role in _FILE_OF[precision] if role in files), None)
        if role is None:
            has = ", ".join(sorted(files))
            _refuse(self.folder, f"expected a network for precision {precision}, found {has}")
        network = Network(
            name=self.manifest.about.name,
            path=self.folder / files[role].path,
            sha256=files[role].sha256,
            inputs=self.manifest.inputs,
            outputs=self.manifest.outputs,
            precision="auto" if role == "f32" else _PRECISIONS[role],
            manifest=self.manifest,
        )
        rule = self.manifest.features
        return network if rule is None else on_features(network, rule)


def bundle_folders() -> dict[str, Path]:
    """The bundles that padflow ships and those of the model folder, by folder name.

    A shipped bundle goes before one of the same name in the model folder.
    """
    found: dict[str, Path] = {}
    for parent in (SHIPPED, model_folder()):
        for manifest in sorted(parent.glob(f"*/{MANIFEST}")):
            if not manifest.parent.name.startswith("."):
                found.setdefault(manifest.parent.name, manifest.parent)
    return found


def bundle_network(folder: Path, precision: Precision = "auto") -> Network:
    """The verified network of a bundle's folder; see :func:`read_bundle`."""
    return read_bundle(folder).network(precision)


def read_bundle(folder: Path | str) -> Bundle:
    """Read a bundle and verify all of it, save what only a backend can see.

    That the network's own inputs and outputs are the declared ones is checked by the engine that
    opens it.

    Raises:
        BundleError: with the reason. Nothing else is raised, whatever the folder holds.
    """
    folder = Path(folder)
    try:
        manifest = _parsed(folder, _manifest_bytes(folder))
        if not manifest.files.keys() & _PRECISIONS.keys():
            _refuse(folder, f"{MANIFEST}: files name no network; expected f32, f16, bf16 or int8")
        _check_tensors(folder, manifest)
        for role, file in manifest.files.items():
            _check_file(folder, role, file)
        _warn_of_strangers(folder, manifest)
    except (OSError, ValueError, RuntimeError) as error:  # the last: too deep, or links in a ring
        raise BundleError(f"bundle {folder}: cannot be read: {error}") from error
    return Bundle(folder, manifest)


def write_bundle(folder: Path | str, manifest: Manifest, files: Mapping[str, Path]) -> Bundle:
    """Write a bundle, in place of an earlier one if there is one; it appears whole or not at all.

    Args:
        folder: the bundle's folder; its parent is made if it is not there.
        manifest: all but its ``files``, which are computed here.
        files: by role, such as ``{"f32": Path("out/depth.onnx")}``; they are copied.

    Raises:
        BundleError: the result would be refused by :func:`read_bundle`, or ``folder`` is there
            and is no bundle.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MANIFEST).is_file():
        _refuse(folder, "there is something that is no bundle; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        entries = {role: _copied(source, aside, folder) for role, source in files.items()}
        data = _serialised(replace(manifest, files=entries))
        (aside / MANIFEST).write_bytes(data)
        (aside / SUMS).write_bytes(_sums(data))
        read_bundle(aside)
        aside.chmod(0o755)
        _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return read_bundle(folder)


def _refuse(folder: Path, reason: str) -> NoReturn:
    raise BundleError(f"bundle {folder}: {reason}")


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not path.is_file():
        _refuse(folder, f"there is no {MANIFEST}; give the folder of a bundle")
    if path.stat().st_size > _MOST_MANIFEST_BYTES:
        _refuse(folder, f"{MANIFEST} is larger than {_MOST_MANIFEST_BYTES} bytes")
    data = path.read_bytes()
    sums = folder / SUMS
    if not sums.is_file() or sums.read_bytes() != _sums(data):
        _refuse(
            folder,
            f"{MANIFEST} does not have the SHA-256 that {SUMS} says: it was changed or cut short; "
            "get the bundle anew, or write it with padflow.engines.bundle.write_bundle",
        )
    return data


def _sums(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _serialised(manifest: Manifest) -> bytes:
    return (json.dumps(asdict(manifest), indent=2, allow_nan=False) + "\n").encode()


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _parsed(folder: Path, data: bytes) -> Manifest:
    content = json.loads(data, object_pairs_hook=_without_duplicates)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        _refuse(
            folder,
            f"expected format_version {FORMAT_VERSION}, found {version!r}; use the release of "
            "padflow that the bundle was made for, or get a newer bundle",
        )
    try:
        return _adapter().validate_json(data, strict=True)
    except ValidationError as error:
        _refuse(folder, f"{MANIFEST}: {_explained(error)}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


_SECTIONS: Mapping[str, type] = {
    "about": About,
    "files": BundleFile,
    "inputs": TensorSpec,
    "outputs": TensorSpec,
    "crop": CropRule,
    "features": FeatureRule,
    "calibration": Calibration,
    "metrics": Metric,
    "training": Training,
}


def _explained(error: ValidationError) -> str:
    """The first fault as one sentence."""
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    where = ".".join(place) or "the whole"
    if fault["type"] != "unexpected_keyword_argument":
        return f"{where}: {fault['msg'].lower()}, found {fault['input']!r:.80}"
    section = Manifest if len(place) == 1 else _SECTIONS[place[0]]
    right = [field.name for field in fields(section)]
    near = get_close_matches(place[-1], right, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(right)}"
    return f"{where}: unknown key; {hint}"


def _check_tensors(folder: Path, manifest: Manifest) -> None:
    specs = (*manifest.inputs, *manifest.outputs)
    names = [spec.name for spec in specs]
    if twice := {name for name in names if names.count(name) > 1}:
        _refuse(folder, f"the tensor {min(twice)!r} is declared twice")
    for spec in specs:
        if not re.fullmatch(r"(u?int(8|16|32|64)|float(16|32|64)|bool)", spec.dtype):
            _refuse(folder, f"tensor {spec.name}: {spec.dtype!r} is no dtype of NumPy's")
        if len(spec.layout) != len(spec.shape):
            _refuse(
                folder,
                f"tensor {spec.name}: expected a letter of the layout for each axis of "
                f"{spec.shape}, found {spec.layout!r}",
            )
        if any(length == 0 or length < -1 for length in spec.shape):
            _refuse(folder, f"tensor {spec.name}: {spec.shape} is no shape; use -1 for any length")
        if not spec.meaning:
            _refuse(folder, f"tensor {spec.name}: its meaning is not told")


def _check_file(folder: Path, role: str, file: BundleFile) -> None:
    pure = PurePosixPath(file.path)
    tame = not pure.is_absolute() and ".." not in pure.parts and "\\" not in file.path
    path = folder / file.path
    if not tame or not path.resolve().is_relative_to(folder.resolve()):
        _refuse(folder, f"the path {file.path!r} leads out of the bundle")
    if not path.is_file():
        _refuse(folder, f"{file.path} is missing; get the bundle anew")
    if path.stat().st_size != file.bytes:
        _refuse(
            folder,
            f"{file.path}: expected {file.bytes} bytes, found {path.stat().st_size}; get the "
            "bundle anew",
        )
    if (digest := file_sha256(path)) != file.sha256:
        _refuse(
            folder,
            f"{file.path}: expected SHA-256 {file.sha256[:12]}…, found {digest[:12]}…: the file "
            "was changed; get the bundle anew",
        )
    if role in _PRECISIONS:
        _check_network_file(folder, file, path)


def _check_network_file(folder: Path, file: BundleFile, path: Path) -> None:
    if path.suffix != ".onnx":
        _refuse(folder, f"{file.path}: expected an .onnx file")
    try:
        external = has_external_data(path)
    except ValueError as error:
        _refuse(folder, f"{file.path}: is no ONNX file: {error}")
    if external:
        _refuse(
            folder,
            f"{file.path}: keeps weights in another file, which nothing verifies; save it as one "
            "file (onnx.save with save_as_external_data=False)",
        )


def _warn_of_strangers(folder: Path, manifest: Manifest) -> None:
    listed = {PurePosixPath(file.path).as_posix() for file in manifest.files.values()}
    listed |= {MANIFEST, SUMS}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if strangers := sorted(there - listed):
        log.warning("bundle %s: not in the manifest and not used: %s", folder, ", ".join(strangers))


def _copied(source: Path, aside: Path, folder: Path) -> BundleFile:
    target = aside / source.name
    if target.exists() or source.name in (MANIFEST, SUMS):
        _refuse(folder, f"two files would be called {source.name}; rename one")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise BundleError(f"bundle {folder}: cannot copy {source}: {error}") from error
    size = target.stat().st_size
    return BundleFile(path=source.name, sha256=file_sha256(target), bytes=size)


def _swap(aside: Path, folder: Path) -> None:
    """Put ``aside`` in the place of ``folder``; where that fails, ``folder`` is as it was."""
    with contextlib.ExitStack() as cleaning:
        if folder.exists():
            attic = tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent)
            cleaning.callback(shutil.rmtree, attic, ignore_errors=True)
            os.replace(folder, attic)  # An empty folder may be replaced by another.
            try:
                os.replace(aside, folder)
            except BaseException:
                os.replace(attic, folder)
                raise
        else:
            os.replace(aside, folder)
