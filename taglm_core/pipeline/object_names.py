"""Objects of a store by the beginnings of their digests."""

from __future__ import annotations

from taglm_core.errors import ConfigError, MissingObject
from taglm_core.store.records import KEY_LENGTH
from taglm_core.store.store import Store


def full_digest(store: Store, kind: str, start: str, where: str) -> str:
    """Return the full digest of the one object of a kind that begins with `start`.

    A whole digest is returned as it is: objects made from it may be present without it, and planning reports if it is
    missing.

    Args:
        store: the store.
        kind: kind of the object.
        start: beginning of the digest.
        where: setting that names the object, for errors.

    Raises:
        MissingObject: no object of the kind has this beginning.
        ConfigError: several objects have it.
    """
    present = [digest for known, digest in store.objects() if known == kind]
    found = [digest for digest in present if digest.startswith(start)]
    if len(found) == 1:
        return found[0]
    if not found and len(start) == KEY_LENGTH:
        return start
    error = ConfigError if found else MissingObject
    labels = {pointer.digest: pointer.label for pointer in store.pointers(kind)}
    shown = [f"{digest[:12]} ({labels.get(digest, 'no key leads to it')})" for digest in found or present]
    raise error(
        f"{where}: {len(found) or 'no'} {kind.replace('-', ' ')}s begin with {start!r}; "
        f"{'they are' if found else f'in {store.root} are'} {', '.join(shown) or 'none'}"
    )
