"""A model whose ConvBN blocks compute in another mode."""

from __future__ import annotations

import copy
import itertools
import typing
import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import layers, report, rewriting, runtime, survey, swap
from crossdock.workloads.conv_bn.errors import DeployStepWarning, ModelNotCopied, NoBatchNorm
from crossdock.workloads.conv_bn.folding import Folder
from crossdock.workloads.conv_bn.fused import Way
from crossdock.workloads.conv_bn.report import Line, Report
from crossdock.workloads.conv_bn.survey import Layer, Survey
from crossdock.workloads.conv_bn.ways import DEFAULT, Ways, choose, elsewhere

Mode = Literal["train", "eval", "tune", "deploy"]
Model = TypeVar("Model", bound=nn.Module)

_STEP = (
    "convert(mode='deploy') made s w the parameters, s = gamma / sqrt(var + eps): a step of the"
    " same learning rate moves a channel 1 / s^2 times as far as a step on w would move s w, which"
    " makes training unstable; train in mode 'tune', and fold when it is done"
)


def tune_mode(
    model: Model,
    *,
    ways: Ways = DEFAULT,
    inputs: Sequence[Any] | None = None,
    trace: bool = True,
    inplace: bool = False,
) -> Model:
    """`model` in Tune mode wherever a BN is in eval mode (``bn.training`` is False), at run time.

    As ``convert(model, mode="tune")``, but no BN is set to eval mode: in training mode it does what
    it always did, and switches with ``train()`` and ``eval()``. A module may change afterwards: its
    forward follows its own attributes and children, but not what other objects hold that it asked,
    nor any of them once it is compiled.
    """
    _expect_norms(model)
    model = model if inplace else _copied(model)
    _restore(model)
    training = [name for name, norm in survey.norms(model) if norm.training]
    notes = [f"{len(training)} BatchNorms are in training mode, where nothing changes"]
    _tune(model, ways, inputs, trace, notes if training else [])
    return model


def convert(
    model: Model,
    mode: Mode = "tune",
    *,
    ways: Ways = DEFAULT,
    inputs: Sequence[Any] | None = None,
    trace: bool = True,
    inplace: bool = False,
) -> Model:
    """`model` with ConvBN blocks in a mode; ``report_of`` says what became of each.

    The result has modules of its own, but the parameters and buffers of `model`: an optimizer made
    before goes on, and only one of the two should be trained.

    Args:
        model: any module with BatchNorms.
        mode: train: BNs normalise by the batch; eval: by what they have learnt of batches; tune: as
            eval, in one operation with the convolution before; deploy: folded into the weights,
            which are new ones. All set the mode of BNs; ``model.train()`` sets it again.
        ways: of mode tune: what is kept for the backward pass, by layer; pairs that are only found
            at run time know eval and recompute.
        inputs: what the model is called with, for ``ways="auto"``.
        trace: rewrite forwards that can be traced; otherwise all is found out at run time, and
            every module is called as it always was.
        inplace: change `model` itself.

    Raises:
        ArgumentError: an unknown mode, way or name.
        NoBatchNorm: there is none.
        ModelNotCopied: it cannot be, and is not to be changed itself.
    """
    if mode not in typing.get_args(Mode):
        known = ", ".join(typing.get_args(Mode))
        raise ArgumentError(f"mode {mode!r} is unknown; choose from {known}")
    _expect_norms(model)
    model = model if inplace else _copied(model)
    _restore(model)
    changed = _set_norms(model, mode == "train")
    if mode == "tune":
        notes = [f"{len(changed)} BatchNorms were in training mode and are set to eval mode"]
        _tune(model, ways, inputs, trace, notes if changed else [])
    elif mode == "deploy":
        _deploy(model)
    else:
        lines = tuple(Line(norm=name, outcome="set", way=mode) for name in changed)
        report.attach(model, Report(mode=mode, lines=lines))
    return model


def _expect_norms(model: nn.Module) -> None:
    if not any(True for _ in survey.norms(model)):
        raise NoBatchNorm(
            f"{type(model).__name__} has no BatchNorm module, so no mode changes it;"
            " other norms (LayerNorm, GroupNorm) and functional calls are not handled"
        )


def _copied(model: Model) -> Model:
    """Modules anew, tensors shared."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    groups = (getattr(each, "process_group", None) for each in model.modules())
    shared: dict[int, Any] = {id(one): one for one in itertools.chain(tensors, groups)}
    try:
        return copy.deepcopy(model, shared)
    except Exception as error:
        raise ModelNotCopied(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error});"
            " give inplace=True to change it itself"
        ) from error


def _restore(model: nn.Module) -> None:
    """As it was before it was converted to tune mode."""
    for module in model.modules():
        swap.undo(module)
    report.detach(model)


def _set_norms(model: nn.Module, training: bool) -> list[str]:
    """Names of those that were in the other mode."""
    changed = [name for name, norm in survey.norms(model) if norm.training is not training]
    for name in changed:
        model.get_submodule(name).train(training)
    return changed


def _tune(
    model: nn.Module, ways: Ways, inputs: Sequence[Any] | None, trace: bool, notes: Sequence[str]
) -> None:
    found = survey.survey(model, trace=trace)
    chosen = choose(model, found.layers, ways, inputs)
    callers: dict[nn.Module, dict[str, Way]] = {}
    for layer, way in zip(found.layers, chosen, strict=True):
        callers.setdefault(layer.caller, {})[layer.call] = way
    lines = [_joined(layer, way) for layer, way in zip(found.layers, chosen, strict=True)]
    lines += _left_to_run_time(model, found, ways)
    for caller, its in callers.items():
        if set(its.values()) != {"eval"}:
            rewriting.rewrite(caller, its)
    report.attach(
        model,
        Report(mode="tune", lines=tuple(lines), untraced=found.untraced, notes=tuple(notes)),
    )


def _joined(layer: Layer, way: Way) -> Line:
    reason = "as it is told" if way == "eval" else ""
    outcome: report.Outcome = "left" if way == "eval" else "joined"
    return Line(norm=layer.norm_name, conv=layer.conv_name, outcome=outcome, way=way, reason=reason)


def _left_to_run_time(model: nn.Module, found: Survey, ways: Ways) -> list[Line]:
    lines = []
    for each in found.unpaired:
        waits = each.may_be and elsewhere(ways, each.norm_name) != "eval"
        lines.append(
            Line(
                norm=each.norm_name,
                outcome="at run time" if waits else "left",
                way="recompute" if waits else "eval",
                reason=each.reason,
            )
        )
        if waits and not isinstance(each.norm, swap.Swapped):
            swap.swap(each.norm, runtime.NotedNorm)
    paired = {layer.conv for layer in found.layers if found.calls[layer.conv] == 1}
    if any(line.outcome == "at run time" for line in lines):
        for module in list(model.modules()):
            if module not in paired and layers.conv_type(module) is not None:
                swap.swap(module, runtime.NotingConv)
    return lines


def _deploy(model: nn.Module) -> None:
    found = survey.survey(model)
    folder = Folder(model, found)
    lines = []
    for layer in found.layers:
        reason = folder.against(layer)
        lines.append(
            Line(
                norm=layer.norm_name,
                conv=layer.conv_name,
                outcome="left" if reason else "folded",
                reason=reason or "",
            )
        )
        if reason is None:
            folder.fold(layer)
    lines += [
        Line(norm=each.norm_name, outcome="left", way="eval", reason=each.reason)
        for each in found.unpaired
    ]
    if any(line.outcome == "folded" for line in lines):
        warnings.warn(_STEP, DeployStepWarning, stacklevel=3)
    report.attach(model, Report(mode="deploy", lines=tuple(lines), untraced=found.untraced))
