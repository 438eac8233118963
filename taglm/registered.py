"""Folders of registered models. MLflow is imported here alone."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from taglm_core.errors import ConfigError, MissingLibrary, TrackingAway
from taglm_core.tagging.exported import INDEX

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_EXPORT = "artifacts/export"  # in the folder of an MLflow model
_NAME = re.compile(r"models:/([^@/]+)(?:@([^@/]+)|/(\d+))")


@contextlib.contextmanager
def registered_folder(name: str, tracking_uri: str | None = None) -> Iterator[Path]:
    """Yield the folder of the export of a registered model; one that was downloaded is removed after the block.

    A tagger that was loaded in the block keeps what it has mapped.

    Args:
        name: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        tracking_uri: MLflow store; MLFLOW_TRACKING_URI or `data/mlflow.db` if not given.

    Raises:
        ConfigError: there is no such model, or it has no export.
        MissingLibrary: MLflow is not installed.
        TrackingAway: the store does not answer.
    """
    with tempfile.TemporaryDirectory() as temporary:
        with _store_errors(name):
            model, version, client, uri = _found(name, tracking_uri)
            from mlflow.artifacts import download_artifacts

            source = client.get_model_version_download_uri(model, version)
            if urlsplit(source).scheme == "file":
                folder = Path(unquote(urlsplit(source).path)) / _EXPORT
            else:
                folder = Path(download_artifacts(f"{source}/{_EXPORT}", dst_path=temporary, tracking_uri=uri))
        if not (folder / INDEX).is_file():
            raise ConfigError(
                f"{name}: found no export in it: an older version of TagLM registered it; export the tagger with "
                f"`taglm export {name} FOLDER`, or register it again"
            )
        yield folder


def registered_version(name: str, tracking_uri: str | None = None) -> str:
    """Return the version of a registered model that a name stands for now.

    Args:
        name: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        tracking_uri: as in `registered_folder`.

    Raises:
        ConfigError: there is no such model.
        MissingLibrary: MLflow is not installed.
        TrackingAway: the store does not answer.
    """
    with _store_errors(name):
        return _found(name, tracking_uri)[1]


def _found(name: str, tracking_uri: str | None) -> tuple[str, str, MlflowClient, str]:
    """Return model, version, a client, and the address of the store."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ConfigError(
            f"{name}: expected models:/NAME@ALIAS or models:/NAME/VERSION, as in models:/taglm-demo@champion"
        )
    from mlflow.tracking import MlflowClient

    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('data/mlflow.db').absolute()}"
    model, alias, version = parts.groups()
    client = MlflowClient(uri, uri)
    found = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, version)
    return model, str(found.version), client, uri


@contextlib.contextmanager
def _store_errors(name: str) -> Iterator[None]:
    """Turn errors of MLflow into ours."""
    try:
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise MissingLibrary(
            f"{name} is loaded by MLflow, which is not installed; install the extra with "
            '`pip install "taglm[pipeline]"`, or export the model to a folder'
        ) from None
    try:
        yield
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_NOT_FOUND"):
            raise ConfigError(f"{name}: {error.message}; `taglm links` shows the registered models") from error
        raise TrackingAway(f"{name}: the MLflow store does not answer ({error.message})") from error
    except OSError as error:
        raise TrackingAway(f"{name}: the MLflow store does not answer ({error})") from error
