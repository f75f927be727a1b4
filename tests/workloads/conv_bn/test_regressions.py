"""What other conversions get wrong, each by itself."""

from __future__ import annotations

import torch
from tests.workloads.conv_bn.cases import Pair, assert_same, assert_trains_alike, drawn, learnt
from torch import Tensor, nn

from crossdock.workloads.conv_bn import report_of, tune_mode


def outcomes(model: nn.Module) -> dict[str, tuple[str, str | None]]:
    report = report_of(model)
    assert report is not None
    return {line.norm: (line.outcome, line.seen) for line in report.lines}


def assert_kept(tuned: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    assert_same(tuned, model, *inputs)
    assert_trains_alike(tuned, model, *inputs)


def test_keyword_arguments_of_a_convolution() -> None:
    """pytorch #196165."""

    class Keywords(Pair):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(input=self.conv(input=x))  # type: ignore[no-any-return]

    model = learnt(Keywords(nn.Conv2d(3, 4, 3, 2, padding=1), nn.BatchNorm2d(4)))
    for trace, outcome in ((True, ("joined", None)), (False, ("at run time", "tuned"))):
        tuned = tune_mode(model, trace=trace)
        assert_kept(tuned, model, drawn(2, 3, 6, 6))
        tuned(drawn(2, 3, 6, 6))
        assert outcomes(tuned)["norm"] == outcome


def test_output_size_of_a_transposed_convolution() -> None:
    class Sized(Pair):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x, output_size=[8, 7]))  # type: ignore[no-any-return]

    model = learnt(Sized(nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm2d(6)))
    for trace in (True, False):
        tuned = tune_mode(model, trace=trace)
        assert_kept(tuned, model, drawn(2, 4, 4, 4))


def test_grouped_transposed_convolution() -> None:
    model = learnt(Pair(nn.ConvTranspose2d(4, 8, 3, 2, groups=2), nn.BatchNorm2d(8)))
    tuned = tune_mode(model)
    assert_kept(tuned, model, drawn(2, 4, 5, 5))
    assert outcomes(tuned)["norm"][0] == "joined"


class AfterCat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.left(x), self.right(x)], 1))  # type: ignore[no-any-return]


def test_norm_behind_a_concatenation() -> None:
    model = learnt(AfterCat())
    for trace in (True, False):
        tuned = tune_mode(model, trace=trace)
        assert_kept(tuned, model, drawn(2, 3, 5, 5))
        tuned(drawn(2, 3, 5, 5))
        expected = (
            ("left", None) if trace else ("at run time", "its input was no convolution's output")
        )
        assert outcomes(tuned)["norm"] == expected


def test_pre_activation() -> None:
    class Pre(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)
            self.norm2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            out = self.conv1(self.norm1(x).relu_())
            return x + self.conv2(self.norm2(out).relu_())  # type: ignore[no-any-return]

    model = learnt(nn.Sequential(nn.Conv2d(3, 4, 1), Pre(), Pre()))
    tuned = tune_mode(model)
    assert_kept(tuned, model, drawn(2, 3, 5, 5))
    tuned(drawn(2, 3, 5, 5))
    assert outcomes(tuned) == {
        "1.norm1": ("at run time", "tuned"),  # behind the first convolution
        "1.norm2": ("joined", None),
        "2.norm1": ("at run time", "its input was no convolution's output"),
        "2.norm2": ("joined", None),
    }


class Deciding(nn.Module):
    """Its way through depends on what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.positive, self.negative = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(self.stem(x))
        if x.sum() > 0:
            return self.positive(out)  # type: ignore[no-any-return]
        return self.negative(out.relu())  # type: ignore[no-any-return]


def test_data_dependent_control_flow() -> None:
    model = learnt(Deciding())
    tuned = tune_mode(model)
    x = drawn(2, 3, 5, 5).detach().abs()
    for sign in (1, -1):
        assert_kept(tuned, model, (sign * x).requires_grad_())
        tuned((sign * x).requires_grad_())
    report = report_of(tuned)
    assert report is not None
    assert "control flow" in report.untraced[""]
    assert type(tuned.get_submodule("stem.0")) is nn.Conv2d, "nothing waits for its output"
    assert outcomes(tuned) == {
        "stem.1": ("joined", None),
        "positive": ("at run time", "tuned"),
        "negative": ("at run time", "its input was no convolution's output"),
    }


def test_an_input_that_is_written_before_the_norm() -> None:
    class Writes(Pair):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            out = self.conv(x)
            x.mul_(2)
            return self.norm(out) + x.sum()  # type: ignore[no-any-return]

    model = learnt(Writes(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    for trace in (True, False):
        tuned = tune_mode(model, trace=trace)
        with torch.no_grad():
            x = drawn(2, 3, 5, 5)
            torch.testing.assert_close(tuned(x), model(x), rtol=1e-12, atol=1e-12)


def test_a_norm_called_between_learns_in_the_same_order() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.conv1(x), self.conv2(x)
            two = self.norm(two)
            return self.norm(one) * two  # type: ignore[no-any-return]

    model = learnt(Shared())
    assert_kept(tune_mode(model), model, drawn(2, 3, 5, 5))


def test_linear_on_sequences_is_not_one_with_its_norm() -> None:
    """There the channels of the one are not those of the other."""
    model = learnt(Pair(nn.Linear(5, 6), nn.BatchNorm1d(6)))
    for trace in (True, False):
        tuned = tune_mode(model, trace=trace)
        assert_same(tuned, model, drawn(2, 6, 5))
        assert_same(tuned, model, drawn(2, 5))


def test_subclasses_that_compute_something_else_are_left() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(input, weight, self.bias)  # type: ignore[no-any-return]

    class Named(nn.Conv2d):
        """Only has another name."""

    class Clipped(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input).clamp(-1, 1)

    for conv, norm, joined in (
        (Standardised(3, 4, 3), nn.BatchNorm2d(4), False),
        (nn.Conv2d(3, 4, 3), Clipped(4), False),
        (Named(3, 4, 3), nn.BatchNorm2d(4), True),
    ):
        model = learnt(Pair(conv, norm))
        tuned = tune_mode(model)
        assert (outcomes(tuned)["norm"][0] == "joined") is joined
        assert_kept(tuned, model, drawn(2, 3, 5, 5))
        assert_kept(tune_mode(model, trace=False), model, drawn(2, 3, 5, 5))
