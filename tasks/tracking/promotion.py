"""Moving the alias `champion` by hand, with the reason kept."""

from __future__ import annotations

import time

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from taglm_core.errors import ConfigError, TrackingAway
from taglm_core.store.durable import locked
from taglm_core.store.store import Store
from tasks.tracking.aliases import registered_models
from tasks.tracking.champion import CHAMPION, DEV_F1, PROMOTED
from tasks.tracking.client import AWAY, Client, not_answering
from tasks.tracking.registry import champion_of, registry_lock, write_pages

LONGEST_REASON = 500  # characters: it stands in a table of the model's page


def promote(uri: str, store: Store, model: str, version: str, why: str, user: str | None) -> list[str]:
    """Give a version of a registered model the alias `champion`.

    Args:
        uri: tracking store, as given by `resolve_uri`.
        store: the store of objects.
        model: name of the registered model.
        version: number of the version.
        why: the reason, shown on the pages of the version and the model.
        user: who does it.

    Returns:
        What was done, in lines.

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
    client.set_registered_model_alias(name, CHAMPION, number)
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
