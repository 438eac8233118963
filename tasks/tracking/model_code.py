"""A registered tagger, as MLflow loads it: this file is run, nothing is unpickled.

`mlflow.pyfunc.load_model("models:/taglm-<data set>@champion").predict([["Anna", "lives", "in", "Rome", "."]])`

`load_model(..., model_config={"vectors": "glove.txt"})` gives words that training did not have their vectors.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class TaggerModel(PythonModel):
    """Sentences in tokens to BIOES tags."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the tagger and its language models, in the order in which the tagger reads them."""
        # Imported when the model is loaded: the package comes with it, as one archive.
        sys.path.insert(0, context.artifacts["code"])
        from taglm_core.tagging.prediction import Predictor
        from taglm_core.tagging.trained import load_spec

        # torch says once that projected LSTMs leave oneDNN on CPU: known, and no fault of who loads a model
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        files = context.artifacts
        tagger = Path(files["tagger"])
        spec, _ = load_spec(tagger)
        models = [Path(files[f"language-model-{source.name}-{source.direction}"]) for source in spec.lm]
        vectors = (context.model_config or {}).get("vectors")
        self._predictor = Predictor.load(tagger, models, vectors=Path(vectors) if vectors else None)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  both names are MLflow's
        model_input: list[list[str]],
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> list[list[str]]:
        """As many tags as tokens, for each sentence."""
        return self._predictor.tag(model_input)


mlflow.models.set_model(TaggerModel())
