"""Training: methods define samples and objectives; one trainer runs them all."""

from boltzflow.training.history import History, Record
from boltzflow.training.methods import (
    FAB,
    AlphaDivergence,
    ConstrainedTransport,
    ForwardKL,
    LogDispersion,
    Method,
    Mixture,
    Phases,
    ReverseKL,
    SimulateAndLearn,
    TemperatureAnnealing,
)
from boltzflow.training.options import TrainingOptions
from boltzflow.training.schedules import Annealing, WarmupCosine
from boltzflow.training.soap import SOAP
from boltzflow.training.trainable import DensityModel, Trainable
from boltzflow.training.trainer import train

__all__ = [
    "FAB",
    "AlphaDivergence",
    "Annealing",
    "ConstrainedTransport",
    "ForwardKL",
    "DensityModel",
    "History",
    "LogDispersion",
    "Method",
    "Mixture",
    "Phases",
    "Record",
    "ReverseKL",
    "SimulateAndLearn",
    "SOAP",
    "TemperatureAnnealing",
    "Trainable",
    "TrainingOptions",
    "WarmupCosine",
    "train",
]
