"""Sweeps: cells of a grid and single ones, what wins over what, references, and errors with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from taglm_core.config.experiment import Experiment
from taglm_core.config.sweep import Cell, Sweep, expand, load_sweep, reference_of
from taglm_core.errors import ConfigError
from tests.services import ROOT

SWEEPS = [path for path in (ROOT / "experiments").glob("*/**/*.yaml") if "base:" in path.read_text(encoding="utf-8")]
BASE = {"name": "base", "seeds": [1, 2], "tagger": {"units": [50, 50]}}


def cells(**settings: object) -> list[Cell]:
    return expand(Sweep.model_validate({"name": "s", "base": BASE, **settings}))


def test_a_grid_has_every_combination_in_order() -> None:
    found = cells(axes={
        "labels": {"few": {"labelled.train_fraction": 0.1}, "all": {}}, "tagger.units": [[20], [30, 30]],
    }, cells={"alone": {"seeds": [5]}})  # fmt: skip
    assert [cell.name for cell in found] == ["few, [20]", "few, [30, 30]", "all, [20]", "all, [30, 30]", "alone"]
    assert [cell.place for cell in found][1] == {"labels": "few", "tagger.units": "[30, 30]"}
    few = found[0].experiment
    assert few.labelled is not None
    assert (few.labelled.train_fraction, few.tagger.units, few.seeds) == (0.1, (20,), (1, 2))
    assert found[4].experiment.seeds == (5,)
    assert found[1].experiment.name == "s-few-30-30"
    assert not few.registry.register_best
    assert found[0].rows == ["few, [20]/baseline", "few, [20]/TagLM"]
    assert BASE == {"name": "base", "seeds": [1, 2], "tagger": {"units": [50, 50]}}  # nothing of it changed


def test_what_wins(tmp_path: Path) -> None:
    """A cell over the sweep's settings, those over the base; a size over the settings; --set over all."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = tmp_path / "sweeps" / "s.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({
        "name": "s", "base": "../base.yaml", "settings": {"tagger.max_epochs": 5, "tagger.patience": 3},
        "sizes": {"cpu": {"tagger.max_epochs": 7}, "full": {"tagger.max_epochs": 9}},
        "cells": {"a": {}, "b": {"tagger.patience": 4}},
    }))  # fmt: skip

    def values(size: str | None, *overrides: str) -> list[tuple[int, int]]:
        return [(cell.experiment.tagger.max_epochs, cell.experiment.tagger.patience)
                for cell in expand(load_sweep(path, size, overrides))]  # fmt: skip

    assert values(None) == [(7, 3), (7, 4)]
    assert values("full") == [(9, 3), (9, 4)]
    assert values("full", "tagger.patience=8") == [(9, 8), (9, 8)]
    sweep = load_sweep(path, "full", ["tagger.patience=8"])
    assert expand(Sweep.model_validate_json(sweep.model_dump_json())) == expand(sweep)  # as a parameter of a flow
    with pytest.raises(ConfigError, match=r"--size ful: not known; did you mean 'full'"):
        load_sweep(path, "ful")


def test_references() -> None:
    """A variant in its own cell, the first one if none is named, or one row for all."""
    found = cells(cells={"a": {}, "b": {}})
    sweep = Sweep.model_validate({"name": "s", "base": BASE, "cells": {"a": {}, "b": {}}})
    assert [reference_of(sweep, cell, found) for cell in found] == ["a/baseline", "b/baseline"]
    other = sweep.model_copy(update={"reference": "TagLM"})
    assert [reference_of(other, cell, found) for cell in found] == ["a/TagLM", "b/TagLM"]
    one = sweep.model_copy(update={"reference": "b/baseline"})
    assert [reference_of(one, cell, found) for cell in found] == ["b/baseline", "b/baseline"]
    assert [cell.rows for cell in cells()] == [["baseline", "TagLM"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": {"a": {"tagger.unit": [5]}}}, r"(?s)cell 'a'.*tagger\.unit"),
        ({"cells": {"a": {"seeds": "x"}}}, r"(?s)cell 'a'.*seeds"),
        ({"axes": {"seeds": [[1]]}, "cells": {"[1]": {}}}, "two cells have the name"),
        ({"cells": {"a b": {}, "a-b": {}}}, "differ in marks alone"),
        ({"reference": "baselin"}, "did you mean 'baseline'"),
        ({"paper": {"TagML": 90}}, "did you mean 'TagLM'"),
        ({"claims": [{"claim": "x", "better": "TagLM", "worse": "b"}]}, "row 'b'"),
        ({"cells": {"a": {}, "b": {"run.store": "elsewhere"}}}, "different stores"),
    ],
)
def test_what_cannot_be_expanded_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(**settings)


def test_files_that_are_no_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text, message in (("name: x\n", "found no sweep"), ("name: x\nbase: no.yaml\n", r"no\.yaml"),
                          ("name: x\nbase: {}\naxis: {}\n", "did you mean axes")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_sweep(path)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_expand_in_every_size(path: Path) -> None:
    """Each cell is an experiment, and each cell of a size differs from the others."""
    sizes = yaml.safe_load(path.read_text(encoding="utf-8")).get("sizes") or {None: {}}
    for size in sizes:
        found = expand(load_sweep(path, size))
        plain = [cell.experiment.model_copy(update={"name": "x"}) for cell in found]
        assert all(isinstance(one, Experiment) for one in plain)
        assert all(one != other for number, one in enumerate(plain) for other in plain[:number])
