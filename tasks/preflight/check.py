"""All faults of the environment in one list, before a run starts anything."""

from __future__ import annotations

from taglm_core.config.experiment import RunConfig
from taglm_core.errors import ConfigError
from tasks.environment import quiet_defaults
from tasks.preflight.machine import machine_faults
from tasks.preflight.prefect_server import prefect_faults
from tasks.preflight.tracking_store import tracking_faults


def require_environment(run: RunConfig) -> list[str]:
    """Refuse to start a run that cannot end well.

    Args:
        run: how the experiment runs: where it is tracked.

    Returns:
        A line for each fault that may pass by itself.

    Raises:
        ConfigError: one line for each fault that does not pass by itself.
    """
    quiet_defaults()
    faults = list(machine_faults())
    if not faults:  # both clients need what is wrong there
        faults = [*prefect_faults(), *tracking_faults(run)]
    if lasting := [str(fault) for fault in faults if not fault.passing]:
        raise ConfigError("\n".join(lasting))
    return [str(fault) for fault in faults]
