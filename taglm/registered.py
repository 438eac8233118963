"""Folders of registered models. MLflow is imported here alone."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taglm_core.errors import ConfigError, MissingLibrary, TrackingAway
from taglm_core.tagging.exported import INDEX

_EXPORT = "artifacts/export"  # in the folder of an MLflow model
_NAME = re.compile(r"models:/([^@/]+)(?:@([^@/]+)|/(\d+))")


def registered_folder(name: str, tracking_uri: str | None = None) -> Path:
    """Return the folder of the export of a registered model, downloaded if it is not on this machine.

    Args:
        name: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        tracking_uri: MLflow store; MLFLOW_TRACKING_URI or `data/mlflow.db` if not given.

    Raises:
        ConfigError: there is no such model, or it has no export.
        MissingLibrary: MLflow is not installed.
        TrackingAway: the store does not answer.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ConfigError(
            f"{name}: expected models:/NAME@ALIAS or models:/NAME/VERSION, as in models:/taglm-demo@champion"
        )
    try:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingLibrary(
            f"{name} is loaded by MLflow, which is not installed; install the extra with "
            '`pip install "taglm[pipeline]"`, or export the model to a folder'
        ) from None
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('data/mlflow.db').absolute()}"
    model, alias, version = parts.groups()
    try:
        client = MlflowClient(uri, uri)
        found = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, version)
        source = client.get_model_version_download_uri(model, str(found.version))
        if urlsplit(source).scheme == "file":
            folder = Path(unquote(urlsplit(source).path)) / _EXPORT
        else:
            folder = Path(download_artifacts(f"{source}/{_EXPORT}", dst_path=tempfile.mkdtemp(), tracking_uri=uri))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_NOT_FOUND"):
            raise ConfigError(f"{name}: {error.message}; `taglm links` shows the registered models") from error
        raise TrackingAway(f"{name}: the MLflow store does not answer ({error.message})") from error
    except OSError as error:
        raise TrackingAway(f"{name}: the MLflow store does not answer ({error})") from error
    if not (folder / INDEX).is_file():
        raise ConfigError(
            f"{name}: found no export in it: an older version of TagLM registered it; export the tagger with "
            f"`taglm export {name} FOLDER`, or register it again"
        )
    return folder
