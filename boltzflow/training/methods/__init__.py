"""Training methods: each chooses samples, weights and objective of a step. One trainer runs them all."""

from boltzflow.errors import OptionError
from boltzflow.training.methods.alpha import AlphaDivergence
from boltzflow.training.methods.annealing import TemperatureAnnealing
from boltzflow.training.methods.cooled import CooledMethod
from boltzflow.training.methods.data import ForwardKL
from boltzflow.training.methods.dispersion import LogDispersion
from boltzflow.training.methods.fab import FAB
from boltzflow.training.methods.method import Memory, Method, StepInfo, settings_of
from boltzflow.training.methods.phases import Mixture, Phases
from boltzflow.training.methods.reverse_kl import ReverseKL
from boltzflow.training.methods.simulate_and_learn import SimulateAndLearn
from boltzflow.training.methods.transport import ConstrainedTransport

__all__ = [
    "FAB",
    "METHODS",
    "AlphaDivergence",
    "ConstrainedTransport",
    "CooledMethod",
    "ForwardKL",
    "LogDispersion",
    "Memory",
    "Method",
    "Mixture",
    "StepInfo",
    "Phases",
    "ReverseKL",
    "SimulateAndLearn",
    "TemperatureAnnealing",
    "method_named",
    "settings_of",
]

METHODS: dict[str, Method] = {
    "reverse_then_forward": Phases(
        (ReverseKL(), AlphaDivergence(alpha=1.0, hot_share=0.0, cooling_share=0.0)), (0.75, 0.25)
    ),
    "reverse_kl": ReverseKL(),
    "simulate_and_learn": SimulateAndLearn(),
    "alpha_divergence": AlphaDivergence(),
    "log_dispersion": LogDispersion(),
    "fab": FAB(),
    "temperature_annealing": TemperatureAnnealing(),
    "constrained_transport": ConstrainedTransport(),
}
"""Methods with default settings, by their name in `train` and on the command line.

The first is what presets train with. Reverse KL finds the basins and most of their shape. Forward KL with the
flow's own weights then improves the regions that reverse KL leaves undersampled, which cost most of the effective
sample size.
"""


FORWARD_KL = "forward_kl"
"""The method that learns from data. It has no default settings, because it needs a directory of samples."""


def method_named(name: str) -> Method:
    """A method by its name.

    Raises:
        OptionError: if the method is unknown.
    """
    if name == FORWARD_KL:
        raise OptionError(f"Expected data for {FORWARD_KL}: ForwardKL(DIR) in Python, --data on the command line.")
    if name not in METHODS:
        raise OptionError(f"Expected one of the methods {', '.join(sorted((*METHODS, FORWARD_KL)))}; got {name!r}.")
    return METHODS[name]
