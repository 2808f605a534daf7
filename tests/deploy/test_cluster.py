"""The cluster files fit each other, KubeRay's fields and the command line."""

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from padflow.deploy import cli, prometheus
from padflow.deploy.event_tally import EventTally
from padflow.deploy.hub_client import read_cameras
from padflow.deploy.session import RunRequest, build_graph
from padflow.graph.metrics import (
    DurationHistogram,
    EdgeMetrics,
    NodeMetrics,
    ProcessMetrics,
    RunMetrics,
    StreamMetrics,
)
from padflow.graph.packet import Packet
from padflow.graph.plan import make_plan
from padflow.graph.ray_options import RayOptions, lay_out
from padflow.graph.spec import Graph
from padflow.nodes.capture import SOURCE_EVENT, CaptureParams
from padflow.nodes.decide import VERDICT, Decide
from padflow.nodes.payloads import Event

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "cluster"
VARIANTS = ("cpu", "gpu")
CRDS = "PADFLOW_KUBERAY_CRDS"
"""Folder with KubeRay's ray.io_rayclusters.yaml and ray.io_rayjobs.yaml."""

CLUSTER_FIELDS = {
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "headServiceAnnotations",
    "managedBy",
    "rayVersion",
    "suspend",
    "workerGroupSpecs",
}
HEAD_FIELDS = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
WORKER_FIELDS = {
    "groupName",
    "idleTimeoutSeconds",
    "maxReplicas",
    "minReplicas",
    "numOfHosts",
    "rayStartParams",
    "replicas",
    "scaleStrategy",
    "template",
}
JOB_FIELDS = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "clusterSelector",
    "deletionStrategy",
    "entrypoint",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "jobId",
    "managedBy",
    "metadata",
    "rayClusterSpec",
    "runtimeEnvYAML",
    "shutdownAfterJobFinishes",
    "submissionMode",
    "submitterConfig",
    "submitterPodTemplate",
    "suspend",
    "ttlSecondsAfterFinished",
}
START_PARAMETERS = {"dashboard-host", "num-cpus", "object-store-memory"}
UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def cluster(variant: str) -> dict[str, Any]:
    (found,) = documents(f"raycluster-{variant}.yaml")
    return found


def job(variant: str) -> dict[str, Any]:
    (found,) = documents(f"rayjob-{variant}.yaml")
    return found


def groups(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "head", spec["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group


def container(group: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def amount(text: str) -> float:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)(m|[KMGT]i)?", text)
    assert matched, f"{text} is no quantity"
    return float(matched[1]) * UNITS[matched[2] or ""]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_document_says_what_it_is(path: Path) -> None:
    for document in documents(path.name):
        if path.stem == "alerts":
            assert list(document) == ["groups"]
            continue
        assert document["apiVersion"]
        assert document["kind"]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_fields_are_those_of_kuberay(variant: str) -> None:
    found, submitted = cluster(variant), job(variant)
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayCluster")
    assert (submitted["apiVersion"], submitted["kind"]) == ("ray.io/v1", "RayJob")
    spec = found["spec"]
    assert spec.keys() <= CLUSTER_FIELDS
    assert {"headGroupSpec", "workerGroupSpecs", "rayVersion"} <= spec.keys()
    assert submitted["spec"].keys() <= JOB_FIELDS
    assert spec["headGroupSpec"].keys() <= HEAD_FIELDS
    for name, group in groups(spec):
        if name != "head":
            assert group.keys() <= WORKER_FIELDS
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        parameters = group["rayStartParams"]
        assert parameters.keys() <= START_PARAMETERS
        assert all(isinstance(value, str) for value in parameters.values()), "texts, not numbers"
    assert spec["authOptions"] == {"mode": "token"}, "Ray's pods refuse each other without one"
    names = [name for name, _ in groups(spec)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_job_runs_on_the_cluster_of_its_variant(variant: str) -> None:
    assert job(variant)["spec"]["rayClusterSpec"] == cluster(variant)["spec"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_volumes_and_mounts_match_and_exist(variant: str) -> None:
    stored = {(d["kind"], d["metadata"]["name"]) for d in documents("storage.yaml")}
    for _, group in groups(cluster(variant)["spec"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = container(group)["volumeMounts"]
        assert {mount["name"] for mount in mounts} == volumes.keys()
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in stored
            if secret := volume.get("secret"):
                assert ("Secret", secret["secretName"]) in stored


@pytest.mark.parametrize("variant", VARIANTS)
def test_resources_add_up(variant: str) -> None:
    gpus = 0.0
    for _, group in groups(cluster(variant)["spec"]):
        resources = container(group)["resources"]
        assert resources["requests"] == resources["limits"]
        memory = amount(resources["limits"]["memory"])
        assert amount(resources["limits"]["cpu"]) >= 1
        gpus += amount(resources["limits"].get("nvidia.com/gpu", "0"))
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        shared = volumes["shm"]["emptyDir"]
        assert shared["medium"] == "Memory"
        store = float(group["rayStartParams"]["object-store-memory"])
        assert store < amount(shared["sizeLimit"]) < memory / 4, "it is memory of the pod"
    assert (gpus > 0) == (variant == "gpu")


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_may_do_little_and_are_probed(variant: str) -> None:
    for _, group in groups(cluster(variant)["spec"]):
        pod, main = group["template"]["spec"], container(group)
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert not main["securityContext"]["allowPrivilegeEscalation"]
        assert main["image"] == f"padflow:0.1.0-{variant}"
        ready, alive = main["readinessProbe"], main["livenessProbe"]
        assert ready["exec"] == alive["exec"]
        assert alive["periodSeconds"] * alive["failureThreshold"] >= 60


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_command_exists_and_fits_its_mounts_and_ports(variant: str) -> None:
    program, *words = shlex.split(job(variant)["spec"]["entrypoint"])
    assert program == "padflow"
    options = dict(pairwise(words))
    main = container(cluster(variant)["spec"]["headGroupSpec"])
    mounts = {Path(mount["mountPath"]): mount["name"] for mount in main["volumeMounts"]}
    assert mounts[Path(options["--events"]).parent] == "events"
    cameras = Path(words[1])
    assert mounts[cameras.parent] == "cameras"
    (secret,) = [d for d in documents("storage.yaml") if d["kind"] == "Secret"]
    assert cameras.name in secret["stringData"]
    ports = {port["containerPort"]: port["name"] for port in main["ports"]}
    assert int(options["--metrics-port"]) == prometheus.DEFAULT_PORT
    (monitor,) = documents("podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert ports[prometheus.DEFAULT_PORT] == endpoint["port"]
    assert len(endpoint["port"]) <= 15, "Kubernetes' limit for names of ports"
    labels = cluster(variant)["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    parsed = cli._parser(words).parse_args(words)
    assert parsed.command == "up"
    assert parsed.engines == ("apart" if variant == "gpu" else "auto")


def test_the_cameras_of_the_secret_are_read(tmp_path: Path) -> None:
    (secret,) = [d for d in documents("storage.yaml") if d["kind"] == "Secret"]
    path = tmp_path / "cameras.yaml"
    path.write_text(secret["stringData"]["cameras.yaml"])
    assert [camera.name for camera in read_cameras(path)] == ["door-1", "door-2"]


@pytest.mark.parametrize("kind", ["raycluster", "rayjob"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_manifests_fit_the_schema_of_kuberay(variant: str, kind: str) -> None:
    folder = os.environ.get(CRDS)
    if folder is None:
        pytest.skip(f"KubeRay's schemas are not shipped; point {CRDS} to a folder with them")
    definition = yaml.safe_load((Path(folder) / f"ray.io_{kind}s.yaml").read_text())
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    validator = Draft202012Validator(closed(version["schema"]["openAPIV3Schema"]))
    (document,) = documents(f"{kind}-{variant}.yaml")
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    assert errors == []


def closed(schema: Any) -> Any:
    """The schema, refusing the fields that Kubernetes would silently drop."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(part) for name, part in schema.items()}
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        inner["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        inner.pop("type", None)
    return inner


def exported_names() -> set[str]:
    """Names of all samples that a run with a bit of everything has."""
    tally = EventTally()
    tally.take(Packet("s", 0.0, 0, None, Event(SOURCE_EVENT, "", {"state": "connected"})))
    evidence = [{"cue": "depth", "llr": 1.0}]
    data = {"state": "LIVE", "final": True, "reasons": ["evidence_weak"], "evidence": evidence}
    tally.take(Packet("s", 0.0, 0, 1, Event(VERDICT, "track/1", data)))
    some = DurationHistogram((1,) * len(DurationHistogram().counts), 1.0)
    node = NodeMetrics(dropped={"fault": 1}, resets={"gap": 1}, age=some, latency=some)
    edges = {"a.b->c.d": EdgeMetrics()}
    streams = {"s": StreamMetrics(1, dropped={"oldest": 1}), "t": StreamMetrics(1, "ended", "end")}
    metrics = RunMetrics({"decide": node}, edges, streams, 0, ProcessMetrics(1, 1, 1))
    collector = prometheus.RunCollector("door", tally)
    graph = Graph.build("g").add("decide", Decide, {}, {"fused": "fuse.fused"})
    collector.follow(lambda: {"worker-0": metrics}, graph)
    return {sample.name for family in collector.collect() for sample in family.samples}


def alerts() -> list[dict[str, Any]]:
    (document,) = documents("alerts.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alerts_ask_for_metrics_that_there_are(alert: dict[str, Any]) -> None:
    asked = set(re.findall(r"padflow_\w+", alert["expr"]))
    assert asked
    assert asked <= exported_names()
    assert alert["expr"].count("(") == alert["expr"].count(")")
    assert alert["annotations"]["summary"]


def test_a_camera_that_refuses_every_attempt_is_silent_to_the_alert() -> None:
    (alert,) = (rule for rule in alerts() if rule["alert"] == "PadflowStreamSilent")
    bound = re.fullmatch(r"rate\(padflow_stream_packets_total\[2m\]\) < ([0-9.]+)", alert["expr"])
    assert bound, alert["expr"]
    params, waited, attempts = CaptureParams(), 0.0, 0
    while waited < 120:  # each attempt is an event of the source: a packet
        attempts += 1
        delay = min(params.retry_min * 2 ** (attempts - 1), params.retry_max)
        waited += delay * (1 - params.retry_jitter)
    assert 0 < attempts / 120 < float(bound[1])
    assert float(bound[1]) < 1, "a camera of one picture a second is not silent"


def test_the_guide_names_metrics_that_there_are() -> None:
    told = set(re.findall(r"padflow_[a-z_]+", (ROOT / "docs" / "CLUSTER.md").read_text()))
    assert len(told) > 10
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported_names()}
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in told} <= families


def test_engines_are_apart_on_gpus_only_where_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The help of ``--engines`` tells so, and the manifests for GPUs say it."""
    plan = make_plan(build_graph(RunRequest(sources=())))
    free = {"CPU": 16.0, "GPU": 2.0}
    assert lay_out(plan, RayOptions(), free).engines == 0
    assert lay_out(plan, RayOptions(engines="apart"), free).gpu == 2.0
    cli.main(["run", "--help"])
    assert "where a node asks for a GPU, which none of" in " ".join(capsys.readouterr().out.split())


def test_the_dockerfile_names_what_there_is() -> None:
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    used = set(re.findall(r"from=([\w-]+)", text))
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        used |= {base.replace("${VARIANT}", v) for v in VARIANTS if not base.endswith("_IMAGE}")}
    assert used <= stages
    assert "ARG PYTHON_IMAGE=python:3.11-slim" in text
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = re.findall(r"\.\[([\w,]+)\]", text) + re.findall(r"EXTRAS=([\w,]+)", text)
    assert "NVIDIA_VISIBLE_DEVICES=" not in text, "pods that ask for no GPU would see all"
    asked = {name for part in lists for name in part.split(",")}
    assert asked == {"cluster", "gpu"}
    assert asked <= extras["optional-dependencies"].keys()
    user = max(index for index, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] == "USER 1000:1000"
    assert not any(line.startswith("USER") for line in lines[user + 1 :])
    assert f"EXPOSE {prometheus.DEFAULT_PORT}" in lines
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    program = re.search(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
    assert program
    assert program[1].endswith('"padflow"')


def test_ray_is_the_one_that_padflow_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [r for r in project["optional-dependencies"]["cluster"] if r.startswith("ray")]
    least = re.search(r">=(\d+)\.(\d+)", wanted)
    assert least
    image = re.search(r"^ARG RAY_VERSION=(\S+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert image
    for variant in VARIANTS:
        assert cluster(variant)["spec"]["rayVersion"] == image[1]
        major, minor, _ = image[1].split(".")
        assert (int(major), int(minor)) >= (int(least[1]), int(least[2]))
        assert project["version"] in container(cluster(variant)["spec"]["headGroupSpec"])["image"]
