"""MLflow: the server or store that MLFLOW_TRACKING_URI names, or else a file of SQLite.

That file is mlflow/mlflow.db beside the run folders, with pictures in mlflow/artifacts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ftkit.runs.tracking.tracker import PROJECT, About, End, Final, Lines, Tracker

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # else a server that is gone holds a run for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Variables of the environment that MLflow reads, where the user has not set them."""
MOST_SETTINGS, MOST_FIGURES = 100, 1000
"""So many a request may carry."""
LONGEST = 500
"""Letters of a setting that every store takes."""
ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class Mlflow(Tracker):
    """See the head of this file."""

    name = "mlflow"
    has_parents = True

    def begin(self, about: About, known: str | None) -> str:
        """Open the run in its store, or make a new one there."""
        os.environ.update(QUIET | os.environ)
        from mlflow import MlflowClient

        folder = about.home / "mlflow"
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = given or f"sqlite:///{_database(folder)}"
        self.client: Any = MlflowClient(self.uri)
        run = self._found(known)
        self.goes_on = run is not None
        if run is None:
            experiment = self._experiment(None if given else (folder / "artifacts").as_uri())
            tags = {"mlflow.parentRunId": about.parent} if about.parent else {}
            if about.group:
                tags["ftkit.group"] = about.group
            run = self.client.create_run(experiment, run_name=about.name, tags=tags)
        else:
            self.client.update_run(run.info.run_id, status="RUNNING")
        self.id: str = run.info.run_id
        self._keep_settings(about, run)
        return self.id

    def _found(self, known: str | None) -> Any:
        """Return the run that an earlier session began, or None where the store has none such."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(known) if known else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment, and make it where it is not there."""
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name, artifact_location=artifacts)
            except MlflowException as error:  # another process has made it meanwhile
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
        return found.experiment_id

    def _keep_settings(self, about: About, run: Any) -> None:
        """Keep the settings that the run does not have: what is there cannot be changed."""
        from mlflow.entities import Param

        settings = [
            Param(name, str(value)[:LONGEST])
            for name, value in about.settings.items()
            if name not in run.data.params
        ]
        for first in range(0, len(settings), MOST_SETTINGS):
            self.client.log_batch(self.id, params=settings[first : first + MOST_SETTINGS])

    def where(self) -> str:
        """Return in one line where the run lies and how it is looked at."""
        return f"{self.uri} (mlflow ui --backend-store-uri {self.uri})"

    def log(self, lines: Lines) -> None:
        """Keep the figures of some steps."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, step)
            for step, figures in lines
            for name, value in figures.items()
        ]
        for first in range(0, len(metrics), MOST_FIGURES):
            self.client.log_batch(self.id, metrics=metrics[first : first + MOST_FIGURES])

    def finish(self, final: Final) -> None:
        """Keep the final figures and pictures."""
        self.log([(final.step, final.figures)])
        for picture in final.pictures:
            self.client.log_artifact(self.id, str(picture), "plots")

    def close(self, end: End) -> None:
        """Say how the run ended."""
        self.client.set_terminated(self.id, ENDS[end])


def _database(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "mlflow.db").as_posix()
