"""Finds hubs on a Ray cluster and talks to them, for ``padflow up``, ``streams`` and ``down``."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..graph.errors import GraphDefinitionError, GraphError
from ..graph.node import StreamSpec
from ..graph.ray_join import NAMESPACE
from ..graph.spec import load_yaml
from ..nodes.sources import SourceError
from .exits import UsageError
from .hub import Hub, HubJob

ANSWER_SECONDS = 60.0
HEAD = "node:__internal_head__"
"""What Ray calls the resource that only the head of a cluster has."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def launch(ray: Any, job: HubJob, timeout: float) -> Any:
    """Make a hub and wait until its actors are ready.

    Raises:
        GraphError: A hub of this name is up, or it could not start.
    """
    if _found(ray, job.name) is not None:
        raise UsageError(
            f"--name {job.name}: expected a name that is not in use, found a hub of this name up; "
            f"choose another, or end it with 'padflow down --name {job.name}'"
        )
    # On the head: its events and metrics must be where the cluster files look for them.
    remote = ray.remote(num_cpus=0, resources={HEAD: 0.001}, max_concurrency=8)(Hub)
    hub = remote.options(
        name=_actor_name(job.name), namespace=NAMESPACE, lifetime="detached", max_restarts=0
    ).remote(job)
    try:
        ask(ray, hub.start.remote(), timeout)
    except BaseException:
        ray.kill(hub)
        raise
    return hub


def find(ray: Any, name: str) -> Any:
    """The hub of a name.

    Raises:
        UsageError: None is up.
    """
    hub = _found(ray, name)
    if hub is None:
        raise UsageError(
            f"--name {name}: expected a hub of this name on the cluster, found none; start it "
            "with 'padflow up'"
        )
    return hub


def ask(ray: Any, answer: Any, timeout: float = ANSWER_SECONDS) -> Any:
    """Wait for a hub's answer; its errors come out as what they are.

    Raises:
        GraphError, SourceError, UsageError: What the hub raised.
    """
    try:
        return ray.get(answer, timeout=timeout)
    except ray.exceptions.GetTimeoutError as error:
        raise GraphError(f"the hub: expected an answer within {timeout:g} s, found none") from error
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, GraphError | GraphDefinitionError | SourceError | UsageError):
            raise type(cause)(str(cause)) from None
        raise GraphError(f"the hub: {str(cause).splitlines()[0]}") from error
    except ray.exceptions.RayActorError as error:
        raise GraphError("the hub: expected it to answer, found that it has ended") from error


def _actor_name(name: str) -> str:
    return f"padflow-{name}"


def _found(ray: Any, name: str) -> Any:
    try:
        return ray.get_actor(_actor_name(name), namespace=NAMESPACE)
    except ValueError:
        return None


def read_cameras(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[StreamSpec, ...]:
    """The cameras of a YAML file.

    ::

        cameras:
          door: rtsp://user:${DOOR_PASSWORD}@192.0.2.7/stream1
          lobby:
            uri: rtsp://192.0.2.8/main
            options: {transport: udp}       # parameters of the node capture

    ``${NAME}`` is taken from the environment, so that the file holds no secrets.

    Raises:
        UsageError: The file cannot be read or says something else.
    """
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except GraphDefinitionError as error:
        raise UsageError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise UsageError(f"{path}: expected a readable YAML file, found: {told}") from error
    cameras = data.get("cameras") if isinstance(data, dict) else None
    if not isinstance(cameras, dict) or not cameras or set(data) != {"cameras"}:
        raise UsageError(
            f"{path}: expected 'cameras:' with a name and an address for each, found something "
            "else; see docs/CLUSTER.md"
        )
    return tuple(_camera(path, str(name), entry, environment) for name, entry in cameras.items())


def _camera(path: Path, name: str, entry: Any, environment: Mapping[str, str]) -> StreamSpec:
    given: Any = {"uri": entry} if isinstance(entry, str) else entry
    wrong = _wrong_entry(given)
    if wrong:
        raise UsageError(
            f"{path}, camera '{name}': expected an address, or uri and options (parameters of the "
            f"node capture by name), found {wrong}; write it so"
        )
    try:
        uri = with_secrets(given["uri"], environment)
    except UsageError as error:
        raise UsageError(f"{path}, camera '{name}': {error}") from error
    return StreamSpec(name, uri, given.get("options") or {})


def _wrong_entry(given: Any) -> str:
    """What is wrong with a camera's entry, in words; empty where nothing is."""
    if not isinstance(given, dict):
        return f"a {type(given).__name__}"
    more = sorted(str(key) for key in set(given) - {"uri", "options"})
    if more:
        return f"the key '{more[0]}'"
    if not isinstance(given.get("uri"), str):
        return f"uri: {given['uri']}" if "uri" in given else "no uri"
    # A key with nothing behind it is how YAML writes none.
    if not isinstance(given.get("options") or {}, dict):
        return f"options: {given['options']}"
    return ""


def with_secrets(uri: str, environment: Mapping[str, str] = os.environ) -> str:
    """An address with every ``${NAME}`` taken from the environment.

    Raises:
        UsageError: A name is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise UsageError(
                f"address: expected the environment variable {match[1]}, found it not set; "
                "set it, or write the address without it"
            )
        return environment[match[1]]

    return _VARIABLE.sub(value, uri)
