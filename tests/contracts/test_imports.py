"""What may be imported where, beyond the layers that import-linter holds."""

import subprocess
import sys

import pytest

REFUSED = (
    "pydantic", "pandas", "pyarrow", "av", "decord", "ray", "mlflow", "prefect", "dvc", "scipy",
    "sklearn", "jaxtyping", "beartype", "einops", "matplotlib", "rich", "typer", "jinja2", "pebble",
)  # fmt: skip

BARE_MACHINE = """
import importlib, sys
from importlib.machinery import PathFinder
class BareMachine(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in {refused!r}
        return None if absent else PathFinder.find_spec(name, path, target)
sys.meta_path = [BareMachine if finder is PathFinder else finder for finder in sys.meta_path]
for module in {modules!r}:
    importlib.import_module(module)
"""


def import_on_bare_machine(*modules: str) -> subprocess.CompletedProcess[str]:
    code = BARE_MACHINE.format(refused=set(REFUSED), modules=modules)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    "modules",
    [
        ("stpa.models.network", "stpa.models.checkpoint"),
        ("stpa.training.loop", "stpa.training.checkpoint", "stpa.training.optim"),
        ("stpa.optical_flow.codec", "stpa.data.sampling", "stpa.data.transforms"),
        (
            "stpa.evaluation.confusions",
            "stpa.evaluation.examples",
            "stpa.evaluation.explain",
            "stpa.evaluation.fusion",
            *(
                f"stpa.evaluation.localisation.{module}"
                for module in ("baselines", "boxes", "perturbation", "spatial", "temporal")
            ),
            "stpa.evaluation.metrics",
            "stpa.evaluation.scores",
            "stpa.evaluation.significance",
        ),
    ],
)
def test_numerics_import_with_only_torch_timm_numpy_and_opencv(modules: tuple[str, ...]) -> None:
    result = import_on_bare_machine(*modules)
    assert result.returncode == 0, result.stderr


def test_the_bare_machine_is_bare() -> None:
    assert "No module named 'pydantic'" in import_on_bare_machine("stpa.config").stderr


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        *(
            (light, {"torch", "ray", "mlflow", "prefect"})
            for light in ("stpa.cli", "stpa.params", "stpa.workspace", "stpa.config")
        ),
        ("stpa.compute.fail_fast", {"torch", "timm"}),
        ("stpa.cli.predict", {"numpy", "torch", "av", "cv2", "pandas", "fsspec", "mlflow"}),
    ],
)
def test_light_modules_import_without_the_heavy_ones(module: str, heavy: set[str]) -> None:
    assert heavy_after(f"import {module}", heavy) == ""


def test_the_public_face_is_imported_without_what_it_loads_later() -> None:
    heavy = {"torch", "ray", "mlflow", "prefect", "numpy"}
    assert heavy_after("import stpa; stpa.load", heavy) == ""


def heavy_after(code: str, heavy: set[str]) -> str:
    """Return which of the modules are imported after `code`, in a process of its own."""
    code = f"import sys; {code}; print(*({heavy} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()
