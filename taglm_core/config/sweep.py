"""A sweep: cells of one experiment that differ in some settings, and what is compared with what."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from taglm_core.config.base import Settings
from taglm_core.config.experiment import Experiment
from taglm_core.config.explain import explain_all
from taglm_core.config.load import build_experiment, parse_override, read_settings, set_value
from taglm_core.config.yaml_text import read_yaml
from taglm_core.errors import ConfigError

Overrides = dict[str, Any]
"""Values by dotted name, as after `--set`."""


class PaperFigure(Settings):
    """A figure of the paper beside ours."""

    f1: float = Field(description="F1 in percent")
    deviation: float | None = Field(None, description="standard deviation over its runs, in points")


class Claim(Settings):
    """A claim that the figures of two rows decide."""

    claim: str = Field(description="the claim, as a sentence")
    better: str = Field(description="row that should have the larger F1, as CELL/VARIANT")
    worse: str = Field(description="row that should have the smaller F1")
    paper: str = Field("", description="what the paper found")
    same: bool = Field(False, description="the claim is that the rows do not differ")


class Sweep(Settings):
    """Cells of one experiment and their comparison. A row of the result is a variant of a cell, over all seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the sweep, and beginning of those of cells")
    title: str = Field("", description="title of tables and pages")
    base: dict[str, Any] = Field(description="settings of the experiment; in a file also the path of its file")
    settings: Overrides = Field(default_factory=dict, description="overrides of all cells, by dotted name")
    axes: dict[str, dict[str, Overrides]] = Field(
        default_factory=dict, description="overrides by name, for each axis; every combination of one of each axis is "
        "a cell. A list of values is short for an axis that is named as its setting"
    )  # fmt: skip
    cells: dict[str, Overrides] = Field(default_factory=dict, description="overrides of further cells, by name")
    last: Overrides = Field(default_factory=dict, description="overrides that win over those of cells: of --set")
    reference: str = Field(
        "",
        description="what rows are compared with: a variant, each in its own cell (empty: the first), or CELL/VARIANT",
    )
    paper: dict[str, PaperFigure] = Field(default_factory=dict, description="figures of the paper by row, CELL/VARIANT")
    claims: tuple[Claim, ...] = Field((), description="claims that pairs of rows decide")

    @field_validator("axes", mode="before")
    @classmethod
    def _lists_are_settings(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            axis: {_shown(value): {axis: value} for value in values} if isinstance(values, list) else values
            for axis, values in given.items()
        }

    @field_validator("paper", mode="before")
    @classmethod
    def _numbers_are_figures(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {row: {"f1": figure} if isinstance(figure, int | float) else figure for row, figure in given.items()}


@dataclass(frozen=True, slots=True)
class Cell:
    """One experiment of a sweep.

    Attributes:
        name: its name in the sweep.
        place: name of its value on each axis; none for a single cell.
        overrides: what differs from the settings of all cells.
        experiment: the experiment.
    """

    name: str
    place: Mapping[str, str]
    overrides: Overrides
    experiment: Experiment

    @property
    def rows(self) -> list[str]:
        """Return the names of its rows."""
        return [row_name(self.name, variant.name) for variant in self.experiment.variants]


def row_name(cell: str, variant: str) -> str:
    """Return the name of a row: CELL/VARIANT, or the variant alone if the sweep has one cell without a name."""
    return f"{cell}/{variant}" if cell else variant


def load_sweep(path: Path, size: str | None = None, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep; `base` may be a path relative to the file, and `sizes` has overrides to choose from.

    Args:
        path: YAML file.
        size: name of a size; None for the first.
        overrides: `dotted.path=value` strings, which win over all others.

    Raises:
        ConfigError: the file is unreadable, or a key of the sweep cannot be used; `expand` checks the cells.
    """
    given = read_yaml(path)
    if not isinstance(given, dict) or "base" not in given:
        raise ConfigError(f"{path}: found no sweep; expected name, base (an experiment) and axes or cells")
    if isinstance(given["base"], str):
        file = path.parent / given["base"]
        given["base"] = read_settings(file)
    sizes = given.pop("sizes", None) or {}
    if not isinstance(sizes, dict):
        raise ConfigError(f"{path}: sizes: expected overrides by name")
    if size is not None and size not in sizes:
        raise ConfigError(f"--size {size}: {_no_such(size, sizes)}")
    chosen = sizes.get(size or next(iter(sizes), ""), None) or {}
    given["settings"] = {**(given.get("settings") or {}), **chosen}
    try:
        sweep = Sweep.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "\n  ".join(["cannot be used:", *explain_all(error, Sweep)])) from error
    return sweep.model_copy(update={"last": {**sweep.last, **dict(map(parse_override, overrides))}})


def expand(sweep: Sweep) -> list[Cell]:
    """Return the cells in order: the grid of the axes, then the single cells; without both the base alone.

    Raises:
        ConfigError: a cell's settings cannot be used, a name is used twice, or a row is named that there is not.
    """
    cells: dict[str, Cell] = {}
    for name, place, overrides in _combinations(sweep):
        if name in cells:
            raise ConfigError(f"sweep {sweep.name}: two cells have the name {name!r}; give each its own")
        cells[name] = Cell(name, place, overrides, _experiment(sweep, name, overrides))
    rows = [row for cell in cells.values() for row in cell.rows]
    named = [*sweep.paper, *(row for claim in sweep.claims for row in (claim.better, claim.worse))]
    if sweep.reference and not all(_has_variant(cell, sweep.reference) for cell in cells.values()):
        named.append(sweep.reference)
    for row in named:
        if row not in rows:
            raise ConfigError(f"sweep {sweep.name}: row {row!r}: {_no_such(row, rows)}")
    names = [cell.experiment.name for cell in cells.values()]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"sweep {sweep.name}: names of cells differ in marks alone; give names that differ in letters"
        )
    if len({cell.experiment.run.store.absolute() for cell in cells.values()}) > 1:
        raise ConfigError(f"sweep {sweep.name}: the cells have different stores; expected one run.store")
    return list(cells.values())


def chosen_cells(cells: Sequence[Cell], only: Collection[str]) -> list[Cell]:
    """Return the cells with these names; all if none is given.

    Raises:
        ConfigError: there is no cell of a name.
    """
    names = [cell.name for cell in cells]
    for name in only:
        if name not in names:
            raise ConfigError(f"no cell {name}; there are {', '.join(names)}")
    return [cell for cell in cells if not only or cell.name in only]


def reference_of(sweep: Sweep, cell: Cell, cells: Collection[Cell]) -> str:
    """Return the row that the rows of a cell are compared with."""
    variants = [variant.name for variant in cell.experiment.variants]
    if not sweep.reference:
        return row_name(cell.name, variants[0])
    is_row = any(sweep.reference in other.rows for other in cells)
    return sweep.reference if is_row and sweep.reference not in variants else row_name(cell.name, sweep.reference)


def _combinations(sweep: Sweep) -> Iterator[tuple[str, dict[str, str], Overrides]]:
    if sweep.axes:
        for values in itertools.product(*(axis.items() for axis in sweep.axes.values())):
            names = [name for name, _ in values]
            overrides = {key: value for _, changes in values for key, value in changes.items()}
            yield ", ".join(names), dict(zip(sweep.axes, names, strict=True)), overrides
    for name, overrides in sweep.cells.items():
        yield name, {}, overrides
    if not sweep.axes and not sweep.cells:
        yield "", {}, {}


def _experiment(sweep: Sweep, name: str, overrides: Overrides) -> Experiment:
    settings = copy.deepcopy(sweep.base)
    said = f"sweep {sweep.name}, cell {name!r}"
    set_value(settings, "registry.register_best", False, said)
    for changes in (sweep.settings, overrides, sweep.last):
        for dotted, value in changes.items():
            set_value(settings, dotted, copy.deepcopy(value), said)
    settings["name"] = "-".join(filter(None, (sweep.name, re.sub(r"[^\w.]+", "-", name).strip("-"))))
    return build_experiment(settings, said)


def _has_variant(cell: Cell, name: str) -> bool:
    return any(variant.name == name for variant in cell.experiment.variants)


def _no_such(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"not known; {f'did you mean {near[0]!r}?' if near else 'there are ' + (', '.join(known) or 'none')}"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
