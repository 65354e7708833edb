"""Training a head on stored features against training the whole network, and what features take.

Both trainings are whole ones, from building the network to its checkpoint, of the same clips and
steps, with reading, and decoding where whole networks learn. The features are computed before.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.material import training_config, training_job, with_features
from benchmarks.measure import (
    BackboneOption,
    BatchOption,
    DeviceOption,
    FramesOption,
    InputSizeOption,
    RepeatsOption,
    Setting,
    compare,
    report,
    run,
)
from stpa.evaluation.features import CENTRE
from stpa.evaluation.k_sweep import Sweep
from stpa.terminal import TERMINAL
from stpa.training.agreement import Wish
from stpa.training.fit import Place, fit


class _NoHost:
    """Hosts a training that nobody follows, and whose checkpoints nobody keeps."""

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        return Wish.GO_ON

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        pass


def main(
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 128,
    batch: BatchOption = 16,
    frames: FramesOption = 5,
    stored: Annotated[int, typer.Option(min=1, help="Frames of a video with features.")] = 25,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 6,
    repeats: RepeatsOption = 3,
    device: DeviceOption = None,
) -> None:
    """Train the default head with random weights on RGB clips of 320 x 240."""
    setting = Setting.choose(device, "float32")
    settings = {
        "input_size": input_size,
        "short_side": input_size * 9 // 8,
        "batch_size": batch,
        "num_segments": frames,
        "freeze_batch_norm": "all",
    }
    config = training_config(backbone, settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with TERMINAL.bar("generating videos") as progress:
            whole = training_job(folder, config, batch * steps, progress)
        with TERMINAL.bar("storing features") as progress:
            head = with_features(
                replace(whole, model=whole.model.model_copy(update={"freeze": "backbone"})),
                folder / "features",
                CENTRE,
                Sweep((stored,), "exact"),
                progress,
                setting.device,
            )
            file = folder / "features" / head.videos[0].feature_path
            num_bytes = file.stat().st_size
        place = Place(device=setting.device)
        with TERMINAL.bar("training") as progress:
            figures = compare(
                "one training",
                partial(fit, head, place, _NoHost()),
                partial(fit, whole, place, _NoHost()),
                bound=None,
                repeats=repeats,
                setting=setting,
                progress=progress,
            )
    report(
        "features",
        figures,
        setting,
        backbone=backbone,
        input_size=input_size,
        batch=batch,
        frames=frames,
        steps=steps,
        repeats=repeats,
        stored_frames=stored,
        bytes_per_video=num_bytes,
        heads_per_minute=60 / figures[0].measured,
        networks_per_minute=60 / figures[0].peer,
    )


if __name__ == "__main__":
    run(main)
