"""The files of a registered tagger: an MLflow model that stands alone, without pickle."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow

import taglm
import taglm_core
from taglm_core.analysis.exporting import export_tagger
from taglm_core.config.experiment import Experiment
from taglm_core.errors import MissingObject
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.steps import Graph
from taglm_core.store.store import Artifact
from taglm_core.tagging.exported import CARD, VectorsIncluded

# What loading and predicting imports; versions are those the tagger was registered with.
REQUIREMENTS = ("mlflow", "torch", "numpy", "pyarrow", "safetensors", "pydantic", "sentencex", "nltk")
MODEL_CODE = Path(__file__).with_name("model_code.py")  # run when a model is loaded, never imported here
MODEL_CARD = f"artifacts/export/{CARD}"  # path in the files of a version
EXAMPLE = ["Anna Smith lives in Rome."]
logger = logging.getLogger("taglm")


def save_model(folder: Path, tagger: Artifact, experiment: Experiment, facts: Mapping[str, Any]) -> None:
    """Write the export of a tagger into a new folder, as an MLflow model.

    Args:
        folder: the new folder.
        tagger: the tagger.
        experiment: experiment that gives the store, the tokenizer and the vectors to include.
        facts: facts for people.

    Raises:
        MissingObject: a language model that it reads is not in the store.
    """
    context, vectors = PipelineContext(experiment, Graph([])), VectorsIncluded(experiment.registry.vectors)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        # mlflow.pyfunc warns of type hints of its own classes when it is first used
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
        export, code = Path(temporary) / "export", Path(temporary) / "code.zip"
        try:
            export_tagger(context, tagger, export, text=experiment.text, vectors=vectors, facts=facts)
        except MissingObject as error:
            if vectors is not VectorsIncluded.TABLE:
                raise
            logger.warning("%s; the registered model has the vectors of words in the labelled corpora alone", error)
            shutil.rmtree(export, ignore_errors=True)
            export_tagger(context, tagger, export, text=experiment.text, vectors=VectorsIncluded.NEEDED, facts=facts)
        _write_code(code)
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(MODEL_CODE),
            artifacts={"export": str(export), "code": str(code)},
            pip_requirements=requirements(),
            input_example=(EXAMPLE, {"threshold": 0.0}),  # with the type hint in MODEL_CODE it gives the signature
            model_config={"vectors": ""},  # only what is named here may be given when the model is loaded
        )


def requirements() -> list[str]:
    """Return pinned packages, without the label of a local build (`2.13.0+cpu`), which no index has."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _write_code(path: Path) -> None:
    """Write the packages as one file that Python imports from: a server stores one file in place of a hundred."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (taglm, taglm_core):
            folder = Path(str(package.__file__)).parent
            for source in sorted(folder.rglob("*.py")):
                archive.write(source, source.relative_to(folder.parent))
