"""Rules met once, kept by tests: what imports what, where work is done, what files may be called."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from taglm_core.pipeline.kinds import KINDS, Stage

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "taglm_core")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FLOWS = (*Stage, "pipeline", "predict")
HEAVY = ("prefect", "mlflow", "torch")


@pytest.mark.parametrize("module", ["flows.cli", "taglm_core.pipeline.plan", "flows.cli_views", "flows.cli_lineage"])
def test_planning_and_help_import_nothing_heavy(module: str) -> None:
    """`taglm --help`, `plan`, `status` and `lineage` start at once: neither Prefect nor MLflow nor torch."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_training_processes_import_neither_prefect_nor_mlflow() -> None:
    """The child's module and all builders it may call."""
    modules = ", ".join(sorted({kind.builder().__module__ for kind in KINDS.values()}))
    found = "[name for name in ('prefect', 'mlflow') if name in sys.modules]"
    code = f"import sys, taglm_core.process.child, {modules}; print({found})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_drawer_modules() -> None:
    """Modules are named by subject."""
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in SOURCES if path.stem in drawers] == []


@pytest.mark.parametrize("layer", PACKAGES)
def test_no_two_modules_of_a_layer_have_one_name(layer: str) -> None:
    """A name leads to one file."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.is_relative_to(ROOT / layer) and path.stem != "__init__":
            found.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert [paths for paths in found.values() if len(paths) > 1] == []


def test_modules_stay_small() -> None:
    """About 300 lines: split by subject before that."""
    assert {path.name: lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 330} == {}


def test_every_stage_has_its_flow_and_builders() -> None:
    """A newcomer finds any stage in one guess: flows/<stage>.py, taglm_core/stages/<stage>.py."""
    for stage in Stage:
        for folder in ("flows", "taglm_core/stages"):
            assert (ROOT / folder / f"{stage}.py").is_file()


@pytest.mark.parametrize("path", [ROOT / "flows" / f"{name}.py" for name in FLOWS], ids=lambda p: p.stem)
def test_flows_fit_one_screen_and_do_no_work(path: Path) -> None:
    """A flow opens no file, loops over nothing, and fits on a screen."""
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 50
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called.isdisjoint({"open", "Path", "print"})


def test_prefect_caches_and_persists_nothing() -> None:
    """Every task says NO_CACHE and persist_result=False: the store is the only cache."""
    for path in (ROOT / "tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "task":
                settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert settings.get("cache_policy") == "NO_CACHE", path
                assert settings.get("persist_result") == "False", path


def test_no_pickle() -> None:
    """Neither pickle nor torch.save and torch.load anywhere."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "cloudpickle", "joblib", "dill"} & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "save"), ("torch", "load")}, path


def test_importing_has_no_effects(tmp_path: Path) -> None:
    """Importing every module writes nothing and changes no environment variable."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if "taglm_core" in path.parts and path.name != "__main__.py"
    ]
    code = (
        f"import os; before = dict(os.environ)\nimport {', '.join(modules)}\n"
        "changed = set(os.environ.items()) ^ set(before.items())\n"
        "print(sorted(name for name, _ in changed if not name.startswith('KMP')))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert run.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
