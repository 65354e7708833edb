"""The code that MLflow stores with each registered model and runs to serve it.

`mlflow.pyfunc.load_model("models:/NAME-fusion@champion").predict(["a.avi"])` works wherever
this package is installed: the networks' folders and the settings travel with the model.
"""

from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Names the action in video files: one stream, or several fused."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the networks that the stored model holds."""
        from stpa.evaluation.predict import load_predict
        from stpa.registry.candidate import Serving

        serving = Serving.model_validate(context.model_config or {})
        self._predict = load_predict(
            {stream: Path(folder) for stream, folder in context.artifacts.items()},
            fusion=serving.fusion,
            num_segments=serving.num_segments,
            num_crops=serving.num_crops,
            optical_flow=serving.optical_flow.model_dump(),
        )

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (the base has no body)
        self, context: PythonModelContext, model_input: list[str], params: dict | None = None
    ) -> list[list[float]]:
        """Return the logits (fused: scores) of each video path, in the order of class_names."""
        return [[float(score) for score in self._predict(Path(path))] for path in model_input]


set_model(ServedModel())
