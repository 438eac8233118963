"""An experiment for files that were looked at: the settings to write, with the reason of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from taglm_core.analysis.inspecting import Inspected
from taglm_core.config.data import TextFormat
from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.config.load import build_experiment
from taglm_core.errors import ConfigError

FEW_LABELS = 2_000
"""Training sentences below which the embeddings of the language model get dropout (docs/results.md)."""

PASSES = 8
"""Passes over a small text that the language models make at most."""

_GUESSES = (("test", r"test"), ("dev", r"dev|valid"), ("train", r"train"))
_Comments = dict[tuple[str, str], str]


def proposed_yaml(
    seen: Sequence[Inspected], given: Mapping[str, Any], *, splits: Mapping[str, str] | None = None, name: str = "mine"
) -> str:
    """Return an experiment of files in YAML: settings that differ from the defaults, each with its reason.

    Args:
        seen: the files.
        given: settings of the user, which are part of it.
        splits: train, dev, test or text for each file by its name; guessed by the names if not given.
        name: name of the experiment.

    Raises:
        ConfigError: the files are no splits of one experiment, or the settings cannot be used.
    """
    labelled, texts = [one for one in seen if one.labelled], [one for one in seen if not one.labelled]
    _require_one_format(labelled)
    name = re.sub(r"[^\w.-]+", "-", name).lstrip("-.") or "mine"
    data: dict[str, Any] = {"name": name, **given}
    comments: _Comments = {}
    left_out = []
    if labelled:
        chosen = _splits(labelled, splits or {})
        data["labelled"] = {**_labelled(chosen, comments), **data.get("labelled", {})}
        left_out += [one for one in labelled if one not in chosen.values()]
    if texts:
        data["unlabelled"] = {**_unlabelled(texts[0], name, comments), **data.get("unlabelled", {})}
        left_out += texts[1:]
        _language_models(data, texts[0], comments)
    if labelled and "variants" not in given:
        train = chosen["train"].facts.sentences
        if not texts:
            data["variants"] = [{"name": "baseline"}]
            comments["variants", "0"] = "no text was given; TagLM needs one (unlabelled)"
        elif train < FEW_LABELS:
            data["variants"] = [{"name": "baseline", "lm": "none"},
                                {"name": "TagLM", "lm": "main", "tagger": {"lm": {"dropout": 0.5}}}]  # fmt: skip
            comments["variants", "1"] = f"dropout, as there are fewer than {FEW_LABELS:,} labelled sentences"
    build_experiment(data, "these settings")
    return _written(data, comments) + "".join(
        f"# not in these settings: {one.name}; a split is one file, folder or glob\n" for one in left_out
    )


def _require_one_format(labelled: Sequence[Inspected]) -> None:
    for one in labelled[1:]:
        if one.format != labelled[0].format:
            raise ConfigError(
                f"{labelled[0].name} is {labelled[0].format}, but {one.name} is {one.format}; expected one format for "
                "all splits of an experiment; convert one of them, or look at them one by one"
            )


def _splits(labelled: Sequence[Inspected], splits: Mapping[str, str]) -> dict[str, Inspected]:
    """Return the files of train, dev and test, guessed by their names where not given."""
    found: dict[str, Inspected] = {}
    for one in labelled:
        last = one.name.rstrip("/").rpartition("/")[2].lower()
        guess = next((split for split, pattern in _GUESSES if re.search(pattern, last)), "train")
        found.setdefault(splits.get(one.name, guess), one)
    if "train" not in found:
        found = {split: one for split, one in found.items() if one is not labelled[0]} | {"train": labelled[0]}
    return found


def _labelled(chosen: Mapping[str, Inspected], comments: _Comments) -> dict[str, Any]:
    section: dict[str, Any] = {"train": chosen["train"].name}
    if "dev" in chosen:
        section["dev"] = chosen["dev"].name
    else:
        section["dev_sentences"] = max(1, chosen["train"].facts.sentences // 10)
        comments["labelled", "dev_sentences"] = "a tenth of train becomes the development set"
    section["test"] = chosen["test"].name if "test" in chosen else None
    if "test" not in chosen:
        comments["labelled", "test"] = "none was given: variants are compared on dev"
    comments |= {("labelled", split): described(one) for split, one in chosen.items()}
    return section


def _unlabelled(text: Inspected, name: str, comments: _Comments) -> dict[str, Any]:
    comments["unlabelled", "path"] = described(text)
    section = {"name": name, "path": text.name}
    if text.format == TextFormat.DOCUMENTS:
        section["format"] = text.format
        comments["unlabelled", "format"] = text.why
    return section


def _language_models(data: dict[str, Any], text: Inspected, comments: _Comments) -> None:
    """Give language models of a small text a budget that does not exceed `PASSES` passes."""
    usual = LanguageModelConfig()
    steps = max(1, PASSES * text.facts.tokens // usual.step_tokens)
    if text.whole and steps < usual.steps and "language_models" not in data:
        data["language_models"] = {"main": {"steps": steps}}
        comments["language_models", "main"] = f"{PASSES} passes over a small text; see docs/language-models.md"


def described(one: Inspected) -> str:
    """Say in a line what files hold."""
    more = "" if one.whole else "more than "
    counts = f"{more}{one.facts.sentences:,} sentences, {more}{one.facts.tokens:,} tokens"
    types = len(one.facts.entities or {})
    return f"{one.format}, {counts}" + (f", {types} entity type{'' if types == 1 else 's'}" if one.labelled else "")


def _written(data: Mapping[str, Any], comments: _Comments) -> str:
    """Return sections in block style, their values in flow style with comments."""
    lines = []
    for section, value in data.items():
        if isinstance(value, list):
            rows = [(f"- {_flow(item)}", (section, str(number))) for number, item in enumerate(value)]
        elif isinstance(value, dict):
            rows = [(f"{_flow(key)}: {_flow(item)}", (section, str(key))) for key, item in value.items()]
        else:
            lines.append(f"{section}: {_flow(value)}")
            continue
        lines.append(f"{section}:")
        lines += [f"  {row}" + (f"  # {comments[place]}" if place in comments else "") for row, place in rows]
    return "".join(f"{line}\n" for line in lines)


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=2**20, allow_unicode=True, sort_keys=False)[1:-2]
