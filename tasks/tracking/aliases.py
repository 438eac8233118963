"""Aliases of registered models: which objects they name, and `champion` moved by hand, with the reason kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from taglm_core.errors import ConfigError, TrackingAway
from taglm_core.store.durable import locked
from taglm_core.store.store import Store
from tasks.tracking.champion import CHAMPION, DEV_F1, PROMOTED
from tasks.tracking.client import AWAY, Client, in_words, not_answering
from tasks.tracking.registry import champion_of, make_champion, registry_lock, write_pages

LONGEST_REASON = 500  # characters: it stands in a table of the model's page


def aliased_objects(uri: str) -> dict[str, str]:
    """Return the taggers that an alias points to (any alias, any model) and their reports: digest -> who.

    Raises:
        TrackingAway: the tracking store does not answer.
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
        uri: tracking store.
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


def promote(uri: str, store: Store, model: str, version: str, why: str, user: str | None) -> list[str]:
    """Give a version of a registered model the alias `champion`; return what was done, in lines.

    Raises:
        ConfigError: there is no such model or version, or no reason.
        TrackingAway: the tracking store does not answer.
    """
    reason = " ".join(why.split())
    if not 0 < len(reason) <= LONGEST_REASON:
        raise ConfigError(
            f"--why: found {len(reason)} characters; expected a reason of 1 to {LONGEST_REASON} characters"
        )
    client = Client(uri)
    try:
        with locked(registry_lock(store, model)):
            chosen = _find(client.mlflow(), client.address, model, version)
            return _promote(client.mlflow(), chosen, reason, user)
    except AWAY as error:
        raise TrackingAway(f"{not_answering(uri, error)}; start it or correct run.tracking_uri") from error


def _promote(client: MlflowClient, chosen: ModelVersion, reason: str, user: str | None) -> list[str]:
    name, number = chosen.name, str(chosen.version)
    before = champion_of(client, name)
    was = "" if before is None or str(before.version) == number else f"; before it version {before.version}"
    who = f", {user}" if user else ""
    said = f"{reason} ({time.strftime('%Y-%m-%d')}{who}{was})"
    client.set_model_version_tag(name, number, PROMOTED, said)
    make_champion(client, name, number)
    promoted = client.get_model_version(name, number)
    run = client.get_run(promoted.run_id).info.experiment_id if promoted.run_id else ""
    write_pages(client, promoted, client.search_model_versions(f"name = '{name}'"), promoted, run)
    lines = [f"{name} version {number} is champion now: {said}"]
    if DEV_F1 in chosen.tags and not float(chosen.tags[DEV_F1]) > 0:
        lines.append("its dev F1 is 0.00: the next tagger with a better one replaces it")
    return lines


def _find(client: MlflowClient, address: str, model: str, version: str) -> ModelVersion:
    """Return a version by name and number.

    Raises:
        ConfigError: it is not there; says what is.
    """
    names = sorted(one.name for one in registered_models(client))
    if model not in names:
        known = f"the registered models are {', '.join(names)}" if names else "no model is registered there yet"
        raise ConfigError(f"found no registered model {model!r} in {address}; {known}")
    versions = sorted(client.search_model_versions(f"name = '{model}'"), key=lambda one: int(one.version))
    chosen = next((one for one in versions if str(one.version) == version.removeprefix("v")), None)
    if chosen is None:
        known = f"its versions are {'; '.join(map(_described, versions))}" if versions else "it has no versions"
        raise ConfigError(f"found no version {version!r} of {model}; {known}")
    return chosen


def _described(version: ModelVersion) -> str:
    tags, holds = version.tags, f", {CHAMPION}" if CHAMPION in (version.aliases or []) else ""
    if DEV_F1 not in tags:
        return f"{version.version}{holds}"
    return f"{version.version} ({tags.get('taglm.variant')}, dev F1 {100 * float(tags[DEV_F1]):.2f}{holds})"
