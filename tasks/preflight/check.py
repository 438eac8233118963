"""All faults of the environment, before a run starts."""

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
        run: the `run` section of the experiment.

    Returns:
        One line per transient fault.

    Raises:
        ConfigError: one line per lasting fault.
    """
    quiet_defaults()
    faults = list(machine_faults())
    if not faults:  # both clients depend on the machine
        faults = [*prefect_faults(), *tracking_faults(run)]
    if lasting := [str(fault) for fault in faults if not fault.passing]:
        raise ConfigError("\n".join(lasting))
    return [str(fault) for fault in faults]
