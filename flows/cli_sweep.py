"""`taglm sweep`: runs cells of an experiment that differ in some settings, and compares them in one table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli_invocation import Sets, console
from flows.cli_views import duration
from taglm_core.analysis.sweep_plan import SweepPlan, plan_sweep, shared_kinds
from taglm_core.config.sweep import Cell, Sweep, chosen_cells, expand, load_sweep
from taglm_core.errors import CellsFailed
from taglm_core.store.resources import size_text


def sweep(
    path: Annotated[Path, typer.Argument(metavar="SWEEP", help="YAML file of the sweep", show_default=False)],
    plan: Annotated[bool, typer.Option("--plan", help="show what would run, and run nothing")] = False,
    size: Annotated[str | None, typer.Option(metavar="NAME", help="one of its sizes; the first if not given")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CELL", help="run this cell alone, repeatable")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop all cells when one fails")] = False,
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="also write the table here")] = None,
    overrides: Sets = None,
) -> None:
    """Run cells that differ in some settings, side by side, and compare them in one table."""
    begun, loaded = time.time(), load_sweep(path, size, overrides or ())
    cells = expand(loaded)
    chosen = chosen_cells(cells, only or ())
    planned = plan_sweep(chosen)
    _show_plan(loaded, chosen, planned)
    if plan:
        return
    failure: CellsFailed | None = None
    if planned.to_run:  # the flow writes the table, too
        failure = _run(loaded, chosen[0], tuple(only or ()), fail_fast=fail_fast)
    _show_result(loaded, cells, to, written=bool(planned.to_run))
    if failure is not None:
        raise failure
    console.print(f"[green]done[/] in {duration(time.time() - begun)}")


def _run(loaded: Sweep, first: Cell, only: tuple[str, ...], *, fail_fast: bool) -> CellsFailed | None:
    from flows.cli_run import start_prefect

    start_prefect(console, first.experiment)
    from flows.sweep import sweep as flow

    try:
        flow(loaded, only, fail_fast)
    except CellsFailed as error:
        return error
    return None


def _show_plan(sweep: Sweep, cells: Sequence[Cell], planned: SweepPlan) -> None:
    console.print(f"[bold]{escape(sweep.title or sweep.name)}[/]: {len(cells)} cells, {planned.rows} rows")
    to_run = len(planned.to_run)
    console.print(
        f"{planned.steps:,} steps, {planned.distinct:,} different: {planned.reused:,} in the store, {to_run:,} to run"
    )
    if not to_run:
        return
    if shared := shared_kinds(planned):
        said = [f"{count} {kind}" + (f" ({duration(seconds)})" if seconds else "")
                for kind, (count, seconds) in shared.items()]  # fmt: skip
        console.print(f"built once for several cells: {', '.join(said)}", markup=False)
    unknown = ", ".join(f"{count} {kind}" for kind, count in planned.unknown.items())
    known = f"about {duration(planned.seconds)} on {planned.workers} workers, {size_text(planned.bytes)}"
    left_out = f"; not counted, because the store has no like step: {unknown}" if unknown else ""
    console.print(f"estimate by like steps in the store: {known}{left_out}", markup=False)


def _show_result(sweep: Sweep, cells: Sequence[Cell], to: Path | None, *, written: bool) -> None:
    from taglm_core.analysis.sweep_table import SHORT, claims_of, results_folder, sweep_result, table_of, write_result

    result = sweep_result(sweep, cells)
    if result.rows:
        for title, (headers, rows) in (("", table_of(result, SHORT)), ("claims", claims_of(result))):
            if rows:
                table = Table(title=title or None, title_justify="left", header_style="bold")
                for number, header in enumerate(headers):
                    table.add_column(header, justify="left" if number == 0 or title else "right")
                for row in rows:
                    table.add_row(*map(escape, row))
                console.print(table)
        usual = results_folder(cells, sweep.name)
        for folder in filter(None, (usual, to)):
            if folder != usual or not written:
                write_result(sweep, result, folder)
            console.print(f"table: {folder / 'table.md'}, {folder / 'table.parquet'}", markup=False, soft_wrap=True)
    if result.missing:
        console.print(f"not finished: {', '.join(result.missing)}", style="yellow", markup=False)
