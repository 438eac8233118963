"""Which objects the model registry still names."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from taglm_core.errors import ConfigError, TrackingAway
from tasks.tracking.client import AWAY, Client, in_words, not_answering


def aliased_objects(uri: str) -> dict[str, str]:
    """Return the taggers that an alias points to (any alias, any model) and their reports: digest -> who.

    Args:
        uri: tracking store, as given by `resolve_uri`.

    Raises:
        TrackingAway: it does not answer.
    """
    try:
        return _ask(Client(uri).mlflow())
    except AWAY as error:
        raise TrackingAway(
            f"{not_answering(uri, error)}, and which taggers its aliases name decides what may go; start it or correct "
            "run.tracking_uri, or go on without it by --no-aliases"
        ) from error


def registered_object(uri: str, name: str) -> str:
    """Return the digest of the tagger behind a registered model.

    Args:
        uri: tracking store, as given by `resolve_uri`.
        name: `NAME@ALIAS` or `NAME/VERSION`.

    Raises:
        ConfigError: there is no such model, or it is none of ours.
        TrackingAway: the store does not answer.
    """
    model, sign, alias = name.partition("@")
    model, _, number = (model, "", "") if sign else name.partition("/")
    try:
        client = Client(uri).mlflow()
        version = client.get_model_version_by_alias(model, alias) if sign else client.get_model_version(model, number)
    except MlflowException as error:
        said = f"models:/{name}: {in_words(error)}; write models:/NAME@champion or models:/NAME/1"
        raise ConfigError(said) from error
    except AWAY as error:
        raise TrackingAway(f"{not_answering(uri, error)}; start it") from error
    if "taglm.object" not in version.tags:
        raise ConfigError(f"models:/{name}: found a model that TagLM did not register; expected a tag taglm.object")
    return str(version.tags["taglm.object"])


def registered_models(client: MlflowClient) -> Iterator[RegisteredModel]:
    """Yield all models of a tracking store, page by page."""
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _ask(client: MlflowClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in registered_models(client):
        for alias, version in model.aliases.items():
            tags = client.get_model_version(model.name, version).tags
            who = f"`{alias}` of the registered model {model.name} (version {version})"
            found |= {tags[tag]: who for tag in ("taglm.object", "taglm.report") if tag in tags}
    return found
