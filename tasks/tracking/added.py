"""Steps whose results belong to runs of other steps: an evaluation's to its tagger's, a report's to the variants'.

An evaluation leaves a tagger's run alone that another experiment made, or that has other scores on the split: it gets a
run of its own then, below the variant of its experiment.

Word of the object stands in the store from before its work begins until its results are told: a kill loses none.
"""

from __future__ import annotations

from pathlib import Path

from taglm_core.store.store import Artifact, Store
from tasks.tracking.claim import Claim
from tasks.tracking.connection import AWAY, Connection, warn_away
from tasks.tracking.descriptions import NOTE, run_link
from tasks.tracking.entry import FINISHED, PARENT, RUNNING, STATE_FILE, Entry, State, word_path
from tasks.tracking.results import log_evaluation, log_report
from tasks.tracking.runs import StageRun
from tasks.tracking.variants import variant_of_evaluation, variant_run
from tasks.tracking.views import experiment_tags


class AddedResults(StageRun):
    """A step without a run of its own.

    Args:
        connection: the tracking store.
        entry: the step.
    """

    def __init__(self, connection: Connection, entry: Entry) -> None:
        self._connection, self._entry = connection, entry
        self._claim, self._ended = Claim(entry.claim), False
        try:
            if self._claim.take():
                self._leave_word()
            self.run_id = self._tagger_run()
        except AWAY as error:
            warn_away(connection, error)

    def finish(self, artifact: Artifact) -> None:
        """Tell the results, unless another process is at it; in an outage, word stays in the store."""
        if self._ended or not (self._claim.held or self._claim.take()):
            return
        self._ended = True
        try:
            self._leave_word()
            self.settled = self._told(artifact)
            if self.settled:
                self._entry.word.unlink(missing_ok=True)
        except AWAY as error:
            warn_away(self._connection, error)
        finally:
            self._claim.release()

    def close(self, _status: str) -> None:
        """Without an object there is nothing to tell."""
        if self._claim.held and not self._ended:
            if Store(Path(self._entry.store)).pointer(self._entry.step.kind, self._entry.key) is None:
                self._entry.word.unlink(missing_ok=True)
            self._claim.release()

    def _leave_word(self) -> None:
        path, word = self._entry.word, State(self._connection.address, self._entry)
        known = State.load(path)
        if known is None or (known.uri, known.entry.key) != (word.uri, word.entry.key):
            word.save(path)

    def _told(self, artifact: Artifact) -> bool:
        """Tell the results; gives whether there was somebody to tell them to."""
        if self._entry.step.kind == "report":
            log_report(self._connection, self._entry, artifact)
            return True
        self.run_id = self._tagger_run()
        if self.run_id is None and self._tagger_waits():
            return False
        if self.run_id is not None and self._is_ours(self.run_id, artifact):
            log_evaluation(self._connection, self.run_id, self._entry, artifact)
        else:
            self.run_id = self._own_run(self.run_id)
            log_evaluation(self._connection, self.run_id, self._entry, artifact)
            self._connection.client().set_terminated(self.run_id, FINISHED)
        return True

    def _is_ours(self, tagger_run: str, artifact: Artifact) -> bool:
        """Whether a tagger's run is of the same experiment, and has no other scores on the split."""
        tags = self._connection.client().get_run(tagger_run).data.tags
        known = tags.get(f"taglm.evaluation.{self._entry.step.config['split']}", artifact.ref.digest)
        return (tags.get("taglm.experiment"), known) == (self._entry.experiment, artifact.ref.digest)

    def _own_run(self, tagger_run: str | None) -> str:
        """Id of the run of the evaluation itself, made if there is none."""
        connection, entry = self._connection, self._entry
        identity = {name: entry.tags()[name] for name in ("taglm.experiment", "taglm.kind", "taglm.key")}
        found = connection.find_run(entry.mlflow_experiment, identity)
        if found is not None:
            return found
        parent = variant_run(connection, entry.mlflow_experiment, variant_of_evaluation(entry))
        client, where = (
            connection.client(),
            connection.experiment(entry.mlflow_experiment, experiment_tags(entry.step.stage)),
        )
        note = f"`{entry.step.name}` of {entry.experiment}; its tagger was not trained for this experiment's run"
        if tagger_run is not None:
            experiment_id = client.get_run(tagger_run).info.experiment_id
            note += f": [the tagger's run]({run_link('', experiment_id, tagger_run)})"
        tags = {**entry.tags(), PARENT: parent, NOTE: note}
        return str(client.create_run(where, run_name=entry.step.name, tags=tags).info.run_id)

    def _tagger_run(self) -> str | None:
        if self._entry.step.kind != "evaluation":
            return None
        return self._connection.run_of(self._entry.mlflow_experiment, self._entry.inputs["tagger"])

    def _tagger_waits(self) -> bool:
        """Whether the tagger will have a run: it was trained while the tracking store was away."""
        tagger, store = self._entry.inputs["tagger"], Path(self._entry.store)
        running = State.load(store / "work" / tagger.kind / tagger.key / STATE_FILE)
        waits = word_path(store, tagger.kind, tagger.key).exists()
        return waits or (running is not None and running.status == RUNNING)
