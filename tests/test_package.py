"""What the package promises as a whole: its names, its wheel, its quick and torch-free start."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import padflow

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("graph", "nodes", "engines", "trainers", "deploy")


def test_public_names_are_listed_and_importable() -> None:
    assert padflow.__all__ == sorted(padflow.__all__)
    assert set(padflow.__all__) == set(padflow._HOMES)
    for name in padflow.__all__:
        assert getattr(padflow, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(padflow, "non" + "sense")


def test_wheel_holds_padflow_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    expected = {
        f"padflow/{path.relative_to(ROOT)}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    } | {"padflow/__init__.py"}
    assert {name for name in inside if name.endswith(".py")} == expected
    assert all(name.startswith("padflow/") for name in inside)
    data = {name for name in inside if not name.endswith(".py")}
    assert "padflow/py.typed" in data
    assert "padflow/deploy/graphs/default.yaml" in data
    assert "padflow/nodes/policies/default.yaml" in data
    assert "padflow/trainers/recipes/depth_light.yaml" in data
    assert "padflow/trainers/recipes/motion_depth.yaml" in data
    assert "padflow/trainers/recipes/pulse_depth.yaml" in data
    shipped = ("depth_light", "patch_light", "patch_natural", "views", "views_parts", "pulse_net")
    for name in (*shipped, "motion_depth", "fusion"):
        assert f"padflow/engines/bundles/{name}/bundle.json" in data


def test_help_starts_quickly_and_without_heavy_libraries() -> None:
    code = (
        "import sys; from padflow.deploy.cli import main; main(['--help']);"
        "heavy = {'torch', 'sklearn', 'cv2', 'openvino', 'av', 'numpy', 'pydantic'};"
        "heavy &= set(sys.modules);"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "COMMAND" in done.stdout


def test_no_module_outside_trainers_imports_torch_or_its_like() -> None:
    code = (
        "import sys, pkgutil, importlib, padflow\n"
        "for layer in ('graph', 'nodes', 'engines', 'deploy'):\n"
        "    package = importlib.import_module(f'padflow.{layer}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "heavy = {'torch', 'lightning', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
