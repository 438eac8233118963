"""The decision about the champion, and its text on the pages of a registered model; `registry.py` moves the alias."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from taglm_core.errors import Interrupted, TagLMError
from tasks.tracking.descriptions import LONGEST_DESCRIPTION, artifact_link, model_link, run_link

CHAMPION = "champion"
DECISION = "taglm.decision"
PROMOTED = "taglm.promoted"  # who moved the alias to a version by hand, when and why
DEV_F1, DEV_DIGEST = "taglm.dev_f1", "taglm.dev_digest"
MOST_DECISIONS = 20  # that a registered model's page shows


@dataclass(frozen=True, slots=True)
class Match:
    """A challenger and the champion on the same dev sentences.

    Attributes:
        challenger: F1 of the challenger, between 0 and 1.
        champion: F1 of the champion.
        digest: content digest of the dev split.
        sentences: that both were measured on; None where nobody knows.
        of: sentences of the split, where some were left out because one of the two was trained on them.
        anew: whether the champion was measured for this, on a split that is not its own.
    """

    challenger: float
    champion: float
    digest: str
    sentences: int | None
    of: int | None = None
    anew: bool = False

    @property
    def where(self) -> str:
        """What both figures are of."""
        split = f"the same dev split {self.digest[:10]}"
        if self.sentences is None:
            return split
        if self.of in (None, self.sentences):
            return f"{split} ({self.sentences:,} sentences)"
        return f"{split} (the {self.sentences:,} of its {self.of:,} sentences that neither was trained on)"


def decide(
    model: str, challenger: ModelVersion, champion: ModelVersion | None, match: Callable[[], Match]
) -> tuple[bool, str]:
    """Return whether the alias moves, and why: in words that end with what to do next.

    Args:
        model: name of the registered model.
        challenger: a version with the tags that TagLM gives it.
        champion: the version that has the alias; None if none has.
        match: measures both on the challenger's dev split; called only where the decision needs it.
    """
    f1 = float(challenger.tags[DEV_F1])
    if not f1 > 0:
        return False, (
            "not champion: dev F1 0.00. It finds no entity of its dev split, and such a tagger never becomes champion. "
            "Train it longer, or check the labels of the dev split"
        )
    if champion is None:
        return True, f"champion: the first one (dev F1 {100 * f1:.2f} on dev split {challenger.tags[DEV_DIGEST][:10]})"
    number, other = str(challenger.version), str(champion.version)
    if not champion.tags.keys() >= {DEV_F1, DEV_DIGEST}:
        return False, (
            f"not champion: dev F1 {100 * f1:.2f}. Version {other}, the champion, has no dev F1: the alias was set by "
            f"hand. {_by_hand(model, number)}"
        )
    its_f1 = float(champion.tags[DEV_F1])
    if not its_f1 > 0:
        return True, f"champion: dev F1 {100 * f1:.2f}. Version {other}, the champion until now, had dev F1 0.00"
    try:
        found = match()
    except Interrupted:
        raise
    except (TagLMError, ValueError, LookupError, OSError) as error:
        return False, (
            f"not champion: dev F1 {100 * f1:.2f} on dev split {challenger.tags[DEV_DIGEST][:10]} and the champion's "
            f"{100 * its_f1:.2f} (version {other}) on another dev split ({champion.tags[DEV_DIGEST][:10]}) do not "
            f"compare, and the champion cannot be measured on this one: {error}. {_by_hand(model, number)}"
        )
    return _decided(model, number, other, found)


def _decided(model: str, number: str, other: str, found: Match) -> tuple[bool, str]:
    name = "F1" if found.anew else "dev F1"
    anew = "; the champion was measured on it for this comparison" if found.anew else ""
    mine, its = f"{name} {100 * found.challenger:.2f}", f"{100 * found.champion:.2f}"
    if found.challenger > found.champion:
        return True, (
            f"champion: {mine} is above the {its} of version {other}, the champion until now, on {found.where}{anew}. "
            f"{_by_hand(model, other, 'To go back to it')}"
        )
    return False, (
        f"not champion: {mine} is not above the {its} of version {other}, the champion, on {found.where}{anew}. "
        f"{_by_hand(model, number)}"
    )


def _by_hand(model: str, number: str, what: str = "To make this version champion all the same") -> str:
    return f'{what}: `taglm promote {model} {number} --why "..."`'


def version_note(tags: Mapping[str, str], run_id: str | None, mlflow_experiment: str) -> str:
    """Return the description of a version: the decision and what it rests on. (the tagger's run, if it was tracked)."""
    step = f"tagger/{tags['taglm.variant']}/seed-{tags['taglm.seed']}"
    lines = [
        *([f"Promoted by hand: {tags[PROMOTED]}", ""] if PROMOTED in tags else []),
        tags[DECISION],
        "",
        f"- tagger: `{step}` of {tags['taglm.experiment']}, object `{tags['taglm.object']}`",
        f"- dev F1 {100 * float(tags[DEV_F1]):.2f} on dev split `{tags[DEV_DIGEST]}`",
    ]
    if "taglm.report" in tags:
        lines.append(f"- compared with the others in report `{tags['taglm.report']}`")
    lines.append(f"- where it comes from: `taglm lineage {tags['taglm.object'][:12]}`")
    if run_id is not None:
        types = artifact_link("", mlflow_experiment, run_id, "dev_types.json")
        lines.append(f"- [its run]({run_link('', mlflow_experiment, run_id)}), [dev F1 by type]({types})")
    return "\n".join(lines)[:LONGEST_DESCRIPTION]


def model_note(versions: Iterable[ModelVersion], name: str, champion: str | None = None) -> str:
    """Return the description of a registered model: the newest decisions, newest first, as many as MLflow takes.

    Args:
        versions: all of it, with our tags.
        name: of the model.
        champion: number of the version that has the alias.
    """
    decided = [version for version in versions if DECISION in version.tags]  # others are somebody else's
    rows = [_row(version, name) for version in sorted(decided, key=lambda version: -int(version.version))]
    shown = min(len(rows), MOST_DECISIONS)
    while len(_note(rows, shown, name, champion)) > LONGEST_DESCRIPTION:
        shown -= 1
    return _note(rows, shown, name, champion)


def _note(rows: list[str], shown: int, name: str, champion: str | None) -> str:
    lines = [
        *([f"Champion: [version {champion}]({model_link('', name, champion)}).", ""] if champion else []),
        f"The alias `{CHAMPION}` moves to a version with a better dev F1 on the same dev split. When the dev split "
        "changes, the champion is measured on the new one first. Test scores are never looked at. "
        f'`taglm promote {name} VERSION --why "..."` moves the alias by hand.',
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
    promoted = f"; promoted by hand: {tags[PROMOTED]}" if PROMOTED in tags else ""
    cells = [
        f"[{version.version}]({model_link('', name, str(version.version))})",
        tags["taglm.variant"],
        tags["taglm.seed"],
        f"{100 * float(tags[DEV_F1]):.2f}",
        f"`{tags[DEV_DIGEST][:10]}`",
        f"{tags[DECISION]}{promoted}",
    ]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
