"""Files that older versions left about what MLflow had not received; read once, and written anew in today's form.

tracking/<kind>-<key>.json       an object whose results were not reported
work/<kind>/<key>/tracking.json  a build and its run
tracking/outcomes/*.json         ends of pipelines; *.begun: reports whose end had not been written yet
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taglm_core.pipeline.kinds import Reporting
from taglm_core.store.durable import is_locked, read_json
from taglm_core.store.store import Store
from tasks.tracking.decisions import append, read_end
from tasks.tracking.receipts import MADE, Ledger, SyncState, tracking_folder
from tasks.tracking.spec import FINISHED, RunSpec
from tasks.urls import without_password


def adopt_old_files(store: Store) -> None:
    """Turn the files of older versions into states, ends and receipts, and remove them.

    What a process of an older version is at stays; what cannot be read stays, or is handed on as it is.
    """
    folder = tracking_folder(store)
    words = sorted(folder.glob("*.json"), key=_time)
    for path in [*words, *sorted(store.root.glob("work/*/*/tracking.json"))]:
        state = _old_state(read_json(path), _time(path))
        if state is not None and not is_locked(store.root / "locks" / f"tracking-{'-'.join(state.key)}.lock"):
            _adopt(Ledger(store, state.uri), state, made=path.parent == folder)
            path.unlink(missing_ok=True)
    for path in sorted((folder / "outcomes").glob("*.json"), key=_time):
        end = read_end(read_json(path), store)
        if end is not None:
            append(store, end)
            path.unlink(missing_ok=True)
        else:
            (folder / "decisions").mkdir(exist_ok=True)
            path.rename(folder / "decisions" / path.name)
    for path in (folder / "outcomes").glob("*.begun"):
        path.unlink(missing_ok=True)


def _adopt(ledger: Ledger, state: SyncState, *, made: bool) -> None:
    known = ledger.state(*state.key)
    if state.status == FINISHED or (known is not None and not made):
        return
    own = state.spec.reporting is Reporting.OWN_RUN
    if made and own:
        state = SyncState(state.uri, state.spec, state.begun, state.run_id, state.offset, state.last, MADE)
    ledger.save(state)


def _old_state(data: Any, begun: float) -> SyncState | None:
    try:
        given = {name: value for name, value in data["entry"].items() if name != "store"}
        spec = RunSpec.from_json({"seeds": (), **given, "step": _old_step(given["step"])})
        told = {name: data[name] for name in ("run_id", "offset", "last", "status")}
        return SyncState(without_password(data["uri"]), spec, begun, **told)  # older ones wrote it with the password
    except (TypeError, KeyError, AttributeError):
        return None


def _old_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step with what older versions read in its name."""
    parts, kind = step["name"].split("/"), step["kind"]
    found = {"variant": parts[1] if kind in ("tagger", "evaluation") else "",
             "split": parts[-1] if kind == "embeddings" else ""}  # fmt: skip
    return {**found, **{name: value for name, value in step.items() if value or name not in found}}


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
