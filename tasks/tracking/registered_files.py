"""The files of a registered tagger: an MLflow model that stands alone, without pickle."""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import mlflow

import taglm_core
from taglm_core.errors import MissingObject
from taglm_core.pipeline.kinds import recipe_inputs
from taglm_core.store.store import Artifact

# What loading and predicting imports; versions are those the tagger was registered with.
REQUIREMENTS = ("mlflow", "torch", "numpy", "pyarrow", "safetensors", "pydantic")
MODEL_CODE = Path(__file__).with_name("model_code.py")  # run when a model is loaded, never imported here


def save_model(folder: Path, tagger: Artifact, language_models: Mapping[str, Artifact]) -> None:
    """Write a tagger and the language models that it reads (by step name) into a new folder, as an MLflow model.

    Raises:
        MissingObject: one that it reads is not there.
    """
    files = {"tagger": str(tagger.path)}
    for each in recipe_inputs(tagger.manifest.recipe):
        if each.kind == "language-model":
            if each.role not in language_models:
                raise MissingObject(f"{each.role} is read by the tagger and was not given; run the pretrain stage")
            files[each.role.replace("/", "-")] = str(language_models[each.role].path)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        # mlflow.pyfunc warns of type hints of its own classes when it is first used
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
        code = Path(temporary) / "taglm_core.zip"
        _write_code(code)
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(MODEL_CODE),
            artifacts={**files, "code": str(code)},
            pip_requirements=requirements(),
            model_config={"vectors": ""},  # only what is named here may be given when the model is loaded
        )


def requirements() -> list[str]:
    """Return pinned packages, without the label of a local build (`2.13.0+cpu`), which no index has."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _write_code(path: Path) -> None:
    """Write the package as one file that Python imports from: a server stores one file in place of a hundred."""
    package = Path(taglm_core.__file__).parent
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(package.rglob("*.py")):
            archive.write(source, source.relative_to(package.parent))
