"""Methods of training: which samples, which weights, which objective next. One trainer runs them all."""

from boltzflow.errors import OptionError
from boltzflow.training.methods.annealing import TemperatureAnnealing
from boltzflow.training.methods.method import Memory, Method, Moment, settings_of
from boltzflow.training.methods.phases import Mixture, Phases
from boltzflow.training.methods.reverse_kl import ReverseKL
from boltzflow.training.methods.transport import ConstrainedTransport

__all__ = [
    "METHODS",
    "ConstrainedTransport",
    "Memory",
    "Method",
    "Mixture",
    "Moment",
    "Phases",
    "ReverseKL",
    "TemperatureAnnealing",
    "method_named",
    "settings_of",
]

METHODS: dict[str, type[Method]] = {
    "reverse_kl": ReverseKL,
    "temperature_annealing": TemperatureAnnealing,
    "constrained_transport": ConstrainedTransport,
}
"""Methods by the name that `train` and the command line know them by."""


def method_named(name: str) -> Method:
    """A method with its default settings.

    Raises:
        OptionError: if there is no such method.
    """
    if name not in METHODS:
        raise OptionError(f"Expected a method out of {', '.join(sorted(METHODS))}; got {name!r}.")
    return METHODS[name]()
