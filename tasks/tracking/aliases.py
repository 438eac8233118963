"""Which objects the model registry still names."""

from __future__ import annotations

from mlflow.tracking import MlflowClient

from taglm_core.errors import TrackingAway
from tasks.tracking.connection import AWAY, Connection, in_words


def aliased_objects(uri: str) -> dict[str, str]:
    """Taggers that an alias points to (any alias, any model) and the reports they were chosen by: digest -> who.

    Args:
        uri: tracking store, as given by `resolve_uri`.

    Raises:
        TrackingAway: it does not answer.
    """
    try:
        return _ask(Connection(uri).client())
    except AWAY as error:
        raise TrackingAway(
            f"tracking store {uri} does not answer ({in_words(error)}), and which taggers its aliases name "
            "decides what may go; start it or correct run.tracking_uri, or go on without it by --no-aliases"
        ) from error


def _ask(client: MlflowClient) -> dict[str, str]:
    found: dict[str, str] = {}
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        for model in page:
            for alias, version in model.aliases.items():
                tags = client.get_model_version(model.name, version).tags
                who = f"`{alias}` of the registered model {model.name} (version {version})"
                found |= {tags[tag]: who for tag in ("taglm.object", "taglm.report") if tag in tags}
        token = page.token
        if not token:
            return found
