"""What partial domain adaptation raises beside what data are refused for."""

from __future__ import annotations

from crossdock.proxy.errors import CrossdockError
from crossdock.workloads.features import DataRefused


class NotPartial(DataRefused):
    """The target has classes that the source lacks; the message names them."""


class NotFiniteLoss(CrossdockError, ArithmeticError):
    """A term of the loss is NaN or infinite; the message names step, method and term."""

    def __init__(self, step: int, method: str, term: str, value: float) -> None:
        super().__init__(
            f"step {step} of {method}: the term {term!r} of the loss is {value}; lower the learning"
            " rate or the strength of that term, and look at the inputs' scale"
        )
        self.step, self.method, self.term, self.value = step, method, term, value

    def __reduce__(self) -> tuple[type[NotFiniteLoss], tuple[int, str, str, float]]:
        return NotFiniteLoss, (self.step, self.method, self.term, self.value)


class AdaptationFailed(CrossdockError, RuntimeError):
    """The workers of a training were lost, or raised; the message says what they said."""
