"""What a run shows: plain data, which the client sends and a test can compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from taglm_core.training.journal import Event


class Point(NamedTuple):
    """One point of a metric; its time is in milliseconds since 1970."""

    name: str
    step: int
    value: float
    time: int


class UsedDataset(NamedTuple):
    """A corpus that a run reads; nothing of it is loaded."""

    name: str
    digest: str
    context: str
    uri: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunContent:
    """Everything that a run shows of one object.

    Attributes:
        params: settings by dotted path.
        metrics: points, in order of steps.
        tags: by name.
        artifacts: files by path in the run: a file to copy, a text or a figure.
        datasets: corpora that were read.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Path | str | Figure] = field(default_factory=dict)
    datasets: tuple[UsedDataset, ...] = ()

    def __or__(self, other: RunContent) -> RunContent:
        """Return both together; the other one's values count where both have one."""
        return RunContent(
            {**self.params, **other.params},
            self.metrics + other.metrics,
            {**self.tags, **other.tags},
            {**self.artifacts, **other.artifacts},
            tuple({each[:3]: each for each in (*self.datasets, *other.datasets)}.values()),
        )


def curve_points(events: Iterable[Event], last: Mapping[str, int] | None = None) -> tuple[Point, ...]:
    """Return the points of a journal after the last known steps, each once: a resumed process writes steps again."""
    points, known = [], dict(last or {})
    for event in events:
        for name, value in event.values.items() if event.kind == "metrics" else ():
            if event.step > known.get(name, -1):
                points.append(Point(name, event.step, float(value), int(event.time * 1000)))
                known[name] = event.step
    return tuple(points)


def with_results(points: Iterable[Point], results: Mapping[str, float], time: float) -> tuple[Point, ...]:
    """Return results as the last points of their metrics, unless they are already: tables show the last point.

    Args:
        points: of the curves before.
        results: by name.
        time: when the object was made, in seconds since 1970, so that two reports of it have the same points.
    """
    last = {point.name: point for point in points}
    found = []
    for name, value in results.items():
        before = last.get(name)
        if before is None or before.value != value:
            found.append(Point(name, 0 if before is None else before.step + 1, float(value), int(1000 * time)))
    return tuple(found)
