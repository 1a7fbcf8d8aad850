"""Training: methods say what to learn from, one trainer does the rest."""

from boltzflow.training.history import History, Record
from boltzflow.training.methods import Method, ReverseKL
from boltzflow.training.schedules import Annealing, WarmupCosine
from boltzflow.training.trainer import TrainingOptions, train

__all__ = ["Annealing", "History", "Method", "Record", "ReverseKL", "TrainingOptions", "WarmupCosine", "train"]
