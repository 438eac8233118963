"""Schedules and automations that the user turns on and off: `make chain-on`, `make schedules-off` and the like.

A deploy recreates automations and resets schedules to prefect.yaml. Their states are read before it and restored
after it. Schedules without a slug are left out, because nothing identifies them across deploys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.http import send

RERUN = "run again after a crash"  # name in ops/automations.yaml
NAMES = ("chain", "schedules", "rerun")


@dataclass(frozen=True, slots=True)
class Switch:
    """One schedule or automation of the server.

    Attributes:
        name: `automation NAME` or `schedule DEPLOYMENT/SLUG`.
        address: address that changes its state.
        field: name of the state in the API.
        on: its state.
    """

    name: str
    address: str
    field: str
    on: bool

    def turn(self, *, on: bool) -> None:
        """Turn the switch on or off."""
        send(self.address, {self.field: on}, "PATCH")


def switches(url: str) -> dict[str, Switch]:
    """Return all switches of a server by name.

    Args:
        url: address of the server, without `/api`.
    """
    return {one.name: one for one in (*_automations(url), *_schedules(url))}


def restore(url: str, earlier: Mapping[str, Switch]) -> list[Switch]:
    """Restore the earlier states of switches; new switches keep their state.

    Returns:
        The restored switches, in their earlier state.
    """
    kept = []
    for name, switch in switches(url).items():
        if name in earlier and earlier[name].on != switch.on:
            switch.turn(on=earlier[name].on)
            kept.append(earlier[name])
    return kept


def kept_line(kept: Switch, content: Mapping[str, Any]) -> str:
    """Return a line that a switch differs from its file, with the command that changes it.

    Args:
        kept: the switch.
        content: content of prefect.yaml.
    """
    state, other = ("on", "off") if kept.on else ("off", "on")
    ours = kept.name.startswith("automation ") and kept.name not in _triggers(content)
    commands = [f"make {what}-{other}" for what in NAMES if kept.name in names_of(what, content)]
    file = "ops/automations.yaml" if ours else "prefect.yaml"
    return f"kept {state}: {kept.name} ({file} says {other}; {', '.join(commands) or 'switch it in the UI'})"


def names_of(what: str, content: Mapping[str, Any]) -> list[str]:
    """Return the names of the switches that one command turns.

    Args:
        what: `chain` (the triggers), `schedules` (of all flows but the pipeline) or `rerun`.
        content: content of prefect.yaml.
    """
    if what == "chain":
        return list(_triggers(content))
    if what == "schedules":
        stages = [one for one in _named(content) if not one["entrypoint"].endswith(":pipeline")]
        slugs = [(one["name"], each.get("slug")) for one in stages for each in one.get("schedules") or ()]
        return [f"schedule {name}/{slug}" for name, slug in slugs if slug]
    return [f"automation {RERUN}"]


def without_slug(content: Mapping[str, Any]) -> list[str]:
    """Return the names of deployments with a schedule without a slug.

    Args:
        content: content of prefect.yaml.
    """
    schedules = {one["name"]: one.get("schedules") or () for one in _named(content)}
    return [name for name, several in schedules.items() if not all(each.get("slug") for each in several)]


def _named(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the deployments with a name; Prefect skips the others."""
    return [one for one in content["deployments"] if one.get("name")]


def _triggers(content: Mapping[str, Any]) -> Iterator[str]:
    for one in _named(content):
        for number, trigger in enumerate(one.get("triggers") or (), start=1):
            usual = f"{one['name']}__automation_{number}"  # Prefect's own
            yield f"automation {trigger.get('name', usual)}"


def _automations(url: str) -> Iterator[Switch]:
    for one in send(f"{url}/api/automations/filter", {}):
        yield Switch(f"automation {one['name']}", f"{url}/api/automations/{one['id']}", "enabled", one["enabled"])


def _schedules(url: str) -> Iterator[Switch]:
    for deployment in send(f"{url}/api/deployments/filter", {}):
        for one in (each for each in deployment["schedules"] if each["slug"]):
            address = f"{url}/api/deployments/{deployment['id']}/schedules/{one['id']}"
            yield Switch(f"schedule {deployment['name']}/{one['slug']}", address, "active", one["active"])
