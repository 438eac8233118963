"""A registered tagger, as MLflow loads it: this file is run, nothing is unpickled.

`mlflow.pyfunc.load_model("models:/taglm-<data set>@champion").predict(["Anna Smith lives in Rome."])`

`load_model(..., model_config={"vectors": "glove.txt"})` is for models that do not include their word vectors.
"""

import sys
import warnings
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

# MLflow warns of the type hint of `predict` below
warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")


class TaggerModel(PythonModel):
    """Texts to entities, and tokenised sentences to BIOES tags."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the export."""
        # Imported when the model is loaded: the package comes with it, as one archive.
        sys.path.insert(0, context.artifacts["code"])
        from taglm import Tagger

        # torch says once that projected LSTMs leave oneDNN on CPU: known, and no fault of who loads a model
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        self._tagger = Tagger.load(
            context.artifacts["export"], vectors=(context.model_config or {}).get("vectors") or None
        )

    # With this type hint MLflow's server hands on `inputs` as they came. By a signature alone it makes a table of them,
    # and of each list of tokens only the first token would arrive.
    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  both names are MLflow's
        model_input: list[Any],
        params: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Return the entities of each text, or the tags of each tokenised sentence.

        Args:
            context: MLflow's.
            model_input: list of texts, or of lists of tokens; from Python also a data frame of one column.
            params: `threshold`, the least confidence of an entity.
        """
        rows = model_input.iloc[:, 0].tolist() if hasattr(model_input, "iloc") else list(model_input)
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
        threshold = float((params or {}).get("threshold", 0.0))
        if any(isinstance(row, str) for row in rows):
            return [[entity.to_dict() for entity in found] for found in self._tagger.tag(rows, threshold=threshold)]
        return self._tagger.tag_sentences(rows)


mlflow.models.set_model(TaggerModel())
