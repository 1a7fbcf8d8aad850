"""Method and options of a training, with unset options filled from a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boltzflow.errors import OptionError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.presets import DEFAULT, PresetName, training_settings
from boltzflow.training.methods import Method, method_named
from boltzflow.training.options import TrainingOptions
from boltzflow.training.trainable import Trainable


def resolved(
    model: Trainable,
    method: str | Method | None,
    preset: PresetName | None,
    devices: int,
    options: Mapping[str, Any],
) -> tuple[Method, TrainingOptions]:
    """Method and options of `train`; unset options are filled from the preset.

    Raises:
        OptionError: if one is invalid, or a preset is named for a model that is no generator.
    """
    if isinstance(model, BoltzmannGenerator):
        chosen = training_settings(
            preset or DEFAULT,
            len(model.flow.domain),
            model.flow.like.device.type,
            devices,
            options,
            patient=model.temperatures is None,
            path=bool(model.flow.transform.stochastic_layers),
        )
    elif preset is None:
        chosen = {"method": "reverse_kl", **options}
    else:
        raise OptionError(
            f"Expected a preset only for a BoltzmannGenerator; got {preset!r} for a {type(model).__name__}."
        )
    by_default = chosen.pop("method")
    method = by_default if method is None else method
    return method_named(method) if isinstance(method, str) else method, TrainingOptions.of(**chosen)
