"""Schedules and automations that are switched on and off: `make chain-on`, `make schedules-off` and their relatives.

A deploy makes automations anew and gives schedules what prefect.yaml says. What the user has switched is read before it
and written after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.http import send

AGAIN = "run again after a crash"  # ops/automations.yaml
NAMES = ("chain", "schedules", "rerun")


@dataclass(frozen=True, slots=True)
class Switch:
    """One schedule or automation of the server.

    Attributes:
        name: `automation NAME` or `schedule DEPLOYMENT/SLUG`.
        address: where its state is changed.
        field: what its state is called there.
        on: its state.
    """

    name: str
    address: str
    field: str
    on: bool

    def turn(self, *, on: bool) -> None:
        """Switch it."""
        send(self.address, {self.field: on}, "PATCH")


def switches(url: str) -> dict[str, Switch]:
    """All of a server, by name.

    Args:
        url: of the server, without `/api`.
    """
    return {one.name: one for one in (*_automations(url), *_schedules(url))}


def restore(url: str, earlier: Mapping[str, Switch]) -> None:
    """Switch what is there now as it was earlier; what is new stays as it is."""
    for name, switch in switches(url).items():
        if name in earlier and earlier[name].on != switch.on:
            switch.turn(on=earlier[name].on)


def names_of(what: str, content: Mapping[str, Any]) -> list[str]:
    """Names of the switches that one command turns.

    Args:
        what: `chain` (the triggers), `schedules` (those that are off in the file) or `rerun`.
        content: of prefect.yaml.
    """
    deployments = content["deployments"]
    if what == "chain":
        return [f"automation {trigger['name']}" for one in deployments for trigger in one.get("triggers", [])]
    if what == "schedules":
        off = [(one["name"], each["slug"]) for one in deployments for each in one["schedules"] if not each["active"]]
        return [f"schedule {name}/{slug}" for name, slug in off]
    return [f"automation {AGAIN}"]


def _automations(url: str) -> Iterator[Switch]:
    for one in send(f"{url}/api/automations/filter", {}):
        yield Switch(f"automation {one['name']}", f"{url}/api/automations/{one['id']}", "enabled", one["enabled"])


def _schedules(url: str) -> Iterator[Switch]:
    for deployment in send(f"{url}/api/deployments/filter", {}):
        for one in deployment["schedules"]:
            address = f"{url}/api/deployments/{deployment['id']}/schedules/{one['id']}"
            yield Switch(f"schedule {deployment['name']}/{one['slug']}", address, "active", one["active"])
