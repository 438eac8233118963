"""Who is champion, and how that is said on the pages of a registered model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlflow.entities import RunInfo
from mlflow.entities.model_registry import ModelVersion

from tasks.tracking.descriptions import LONGEST_DESCRIPTION, artifact_link, model_link, run_link

CHAMPION = "champion"
DECISION = "taglm.decision"
MOST_DECISIONS = 20  # that a registered model's page shows


def decide(candidate: float, digest: str, champion: Mapping[str, str] | None) -> tuple[bool, str]:
    """Whether the alias moves, and why.

    Args:
        candidate: its dev F1.
        digest: content digest of its dev split.
        champion: tags of the present champion; None if there is none.
    """
    shown = f"dev F1 {100 * candidate:.2f}"
    if champion is None:
        return True, f"champion: the first one ({shown})"
    if not champion.keys() >= {"taglm.dev_f1", "taglm.dev_digest"}:
        return False, (
            f"not champion: {shown}, and the champion says neither dev F1 nor dev split: the alias was set by hand; to "
            "have it follow dev F1 again, remove it"
        )
    its_f1, its_digest = float(champion["taglm.dev_f1"]), champion["taglm.dev_digest"]
    if its_digest != digest:
        return False, (
            f"not champion: {shown} is of dev split {digest[:10]}, the champion's {100 * its_f1:.2f} of another dev "
            f"split ({its_digest[:10]}), and these do not compare; if it counts from now on, set the alias by hand"
        )
    if candidate > its_f1:
        return True, f"champion: {shown} is above the champion's {100 * its_f1:.2f} on the same dev split"
    return False, f"not champion: {shown} is not above the champion's {100 * its_f1:.2f} on the same dev split"


def version_note(step: str, tags: Mapping[str, str], run: RunInfo | None) -> str:
    """Description of a version: the decision and what it rests on.

    Args:
        step: the tagger's step (`tagger/<variant>/seed-<n>`).
        tags: of the version.
        run: the tagger's run, if it was tracked.
    """
    lines = [
        tags[DECISION],
        "",
        f"- tagger: `{step}` of {tags['taglm.experiment']}, object `{tags['taglm.object']}`",
        f"- dev F1 {100 * float(tags['taglm.dev_f1']):.2f} on dev split `{tags['taglm.dev_digest']}`",
        f"- where it comes from: `taglm lineage {tags['taglm.object'][:12]}`",
    ]
    if "taglm.report" in tags:
        lines.insert(4, f"- compared with the others in report `{tags['taglm.report']}`")
    if run is not None:
        types = artifact_link("", run.experiment_id, run.run_id, "dev_types.json")
        lines.append(f"- [its run]({run_link('', run.experiment_id, run.run_id)}), [dev F1 by type]({types})")
    return "\n".join(lines)


def model_note(versions: Iterable[ModelVersion], name: str) -> str:
    """Description of a registered model: the newest decisions, newest first, as many as MLflow takes.

    Args:
        versions: all of it, with our tags.
        name: of the model.
    """
    decided = [version for version in versions if DECISION in version.tags]  # others are somebody else's
    rows = [_row(version, name) for version in sorted(decided, key=lambda version: -int(version.version))]
    shown = min(len(rows), MOST_DECISIONS)
    while len(_note(rows, shown)) > LONGEST_DESCRIPTION:
        shown -= 1
    return _note(rows, shown)


def _note(rows: list[str], shown: int) -> str:
    lines = [
        f"The alias `{CHAMPION}` moves to a version with a better dev F1 on the champion's dev split. Test scores are "
        "never looked at.",
        "",
        "| version | variant | seed | dev F1 | dev split | decision |",
        "|---|---|---|---|---|---|",
        *rows[:shown],
    ]
    if shown < len(rows):
        lines += ["", f"{len(rows) - shown} older decisions: in their versions' descriptions and tags `{DECISION}`."]
    return "\n".join(lines)


def _row(version: ModelVersion, name: str) -> str:
    tags = version.tags
    cells = [
        f"[{version.version}]({model_link('', name, str(version.version))})",
        tags["taglm.variant"],
        tags["taglm.seed"],
        f"{100 * float(tags['taglm.dev_f1']):.2f}",
        f"`{tags['taglm.dev_digest'][:10]}`",
        tags[DECISION],
    ]
    return f"| {' | '.join(cells)} |"
