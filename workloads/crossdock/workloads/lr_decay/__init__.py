"""How learning-rate decay helps: the study of You, Long, Wang and Jordan (2019), reconstructed.

Networks learn from simple and complex patterns, some of which have wrong labels, at a constant
large rate, a constant small one, and a large one that decays. Needs no Ray but for the command.
"""

from crossdock.workloads.lr_decay.patterns import Block, Patterns, World
from crossdock.workloads.lr_decay.schedule import Schedule, schedules
from crossdock.workloads.lr_decay.training import Recipe
from crossdock.workloads.lr_decay.trial import Trial

__all__ = ["Block", "Patterns", "Recipe", "Schedule", "Trial", "World", "schedules"]
