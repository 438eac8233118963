"""What `make up` runs, and where: names, ports, folders, environment."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.environment import quiet_defaults
from tasks.http import PREFECT_HEALTHY, answers
from tasks.urls import port_of

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PREFECT, MLFLOW, WORKER = "prefect-server", "mlflow", "worker"
MARK = "TAGLM_SERVICES"


class ServiceError(Exception):
    """A service cannot be started, reached or stopped; the message says what to do."""


def chosen_port(service: str, data: Path) -> int:
    """Port of `prefect` or `mlflow`.

    Raises:
        ServiceError: what was chosen is no port.
    """
    chosen = port_of(service, data)
    if not chosen.isdecimal() or not 0 < int(chosen) < 65536:
        raise ServiceError(f"TAGLM_{service.upper()}_PORT={chosen}: expected a number from 1 to 65535")
    return int(chosen)


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one data folder.

    Attributes:
        data: folder of Prefect's home, MLflow's database, and the services' own files.
        prefect: port of the Prefect server.
        mlflow: port of MLflow.
    """

    data: Path
    prefect: int
    mlflow: int

    @property
    def home(self) -> Path:
        """Folder of sockets, process ids and logs."""
        return self.data / "services"

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's UI."""
        return f"http://127.0.0.1:{self.prefect}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow's UI, to which the view for training has to be added."""
        return f"http://127.0.0.1:{self.mlflow}"

    @property
    def mark(self) -> str:
        """What the environment of every process started here holds: how a stop finds what was left behind."""
        return f"{MARK}={self.data}"

    def health(self) -> dict[str, str]:
        """Address by service that answers with 200 once the service works."""
        return {PREFECT: f"{self.prefect_url}/api/health", MLFLOW: f"{self.mlflow_url}/health"}

    def answers(self, name: str) -> bool:
        """Whether a service works: another program may have its port."""
        return answers(self.health()[name], PREFECT_HEALTHY if name == PREFECT else None)

    def addresses(self) -> dict[str, str]:
        """Where a person finds what runs."""
        return {
            "Prefect": f"{self.prefect_url}/runs",
            "MLflow": f"{self.mlflow_url}/#/experiments?workflowType=machine_learning",
            "worker log": str(self.home / "worker.log"),
        }

    @property
    def worker(self) -> str:
        """Name of the worker, by which the server knows it."""
        return f"worker-{socket.gethostname()}"

    def environment(self) -> dict[str, str]:
        """Environment of the services: ours where the user has not set something else."""
        quiet_defaults(self.data)
        store = f"sqlite:///{self.data / 'mlflow.db'}"
        os.environ.setdefault("MLFLOW_TRACKING_URI", store)
        return {
            **os.environ,
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_UI_API_URL": f"{self.prefect_url}/api",  # without it the UI asks port 4200 and stays empty
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for what we do not use
            "TAGLM_BIN": str(BIN),
            "TAGLM_ROOT": str(ROOT),
            "TAGLM_PREFECT_PORT": str(self.prefect),
            "TAGLM_MLFLOW_PORT": str(self.mlflow),
            "TAGLM_MLFLOW_STORE": store,
            "TAGLM_MLFLOW_ARTIFACTS": (self.data / "mlflow-artifacts").as_uri(),
            "TAGLM_WORKER": self.worker,
            MARK: str(self.data),
        }
