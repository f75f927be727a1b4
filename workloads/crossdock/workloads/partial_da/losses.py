"""The terms of the losses, from logits, as means over the whole batch of all workers.

Shapes: B examples of this worker, K source classes, D features. Domain logits are positive for the
source. Wherever a formula has log(sigmoid) or log(softmax), the logits go in: nothing saturates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy as _cross_entropy
from torch.nn.functional import softplus

from crossdock.workloads.features import WrongShape
from crossdock.workloads.partial_da import collective

Tensor = torch.Tensor
Sum = Callable[[Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Of logits (B, K) and labels (B,): sum_x w(x) CE(x) / sum_x w(x)."""
    _expect(logits, (None, None), "logits")
    _expect(labels, (len(logits),), "labels")
    if weights is not None:
        _expect(weights, (len(logits),), "weights")
    return collective.mean(_cross_entropy(logits, labels, reduction="none"), weights)


def entropy(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean entropy of softmax of logits (B, K), in nats."""
    _expect(logits, (None, None), "logits")
    logs = logits.log_softmax(1)
    return collective.mean(-(logs.exp() * logs).sum(1), weights)


def domain(source: Tensor, target: Tensor, source_weights: Tensor | None = None) -> Tensor:
    """Of domain logits (B,) and (B',): mean_s w BCE(D, 1) + mean_t BCE(D, 0).

    Ganin and Lempitsky, ICML 2015; weighted: Zhang et al. (IWAN), CVPR 2018, equation 10, with
    weights whose mean over the batch is 1.
    """
    _expect(source, (None,), "source logits")
    _expect(target, (None,), "target logits")
    if source_weights is not None:
        _expect(source_weights, (len(source),), "source weights")
    return collective.mean(softplus(-source), source_weights) + collective.mean(softplus(target))


def classwise_domain(
    source: Tensor,
    target: Tensor,
    source_chances: Tensor,
    target_chances: Tensor,
    class_weights: Tensor,
) -> Tensor:
    """SAN's adversarial term: sum_k gamma_k mean_x yhat^k(x) BCE(D_k(f(x)), d), for both domains.

    Cao et al., CVPR 2018, equation 6. `source` (B, K) and `target` (B', K) are the logits of the
    K discriminators, `..._chances` the predictions yhat of the same shapes, `class_weights` (K,).
    """
    for logits, chances, name in (
        (source, source_chances, "source"),
        (target, target_chances, "target"),
    ):
        _expect(logits, (None, len(class_weights)), f"{name} logits")
        _expect(chances, tuple(logits.shape), f"{name} chances")
    classes = len(class_weights)
    # A mean over examples and classes, times the classes: the sum over classes of means.
    near = collective.mean(class_weights * source_chances * softplus(-source))
    far = collective.mean(class_weights * target_chances * softplus(target))
    return classes * (near + far)


def conditional_domain(
    source: Tensor, target: Tensor, source_weights: Tensor, target_weights: Tensor
) -> Tensor:
    """Of a discriminator with K outputs: sum w BCE / sum w over examples and classes, each domain.

    Logits and weights are (B, K) and (B', K); a source weight is 0 but at the label.
    """
    _expect(source_weights, tuple(source.shape), "source weights")
    _expect(target_weights, tuple(target.shape), "target weights")
    near = collective.mean(softplus(-source), source_weights)
    return near + collective.mean(softplus(target), target_weights)


def leaky_domain_logit(logits: Tensor) -> Tensor:
    """Of ETN's auxiliary logits (B, K): the logit (B,) of G = sum_c e^z_c / (K + sum_c e^z_c).

    Cao et al., CVPR 2019, equations 5 and 6: G = sigmoid(logsumexp z - log K).
    """
    _expect(logits, (None, None), "auxiliary logits")
    return logits.logsumexp(1) - math.log(logits.shape[1])


def leaky_one_vs_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over examples of sum_c BCE(s_c, [c = label]), s_c = e^z_c / (K + sum e^z).

    Cao et al., CVPR 2019, equation 7; logits (B, K), labels (B,).
    """
    _expect(logits, (None, None), "auxiliary logits")
    _expect(labels, (len(logits),), "labels")
    chosen, others = _leaky_logs(logits)
    own = labels[:, None]
    sums = chosen.gather(1, own).squeeze(1) + others.sum(1) - others.gather(1, own).squeeze(1)
    return collective.mean(-sums)


def _leaky_logs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """log s and log(1 - s), both (B, K), without cancellation.

    Only the largest s can exceed 1/2. There 1 - s is a sum over the others; elsewhere log1p(-s)
    keeps its digits.
    """
    leak = logits.new_full((len(logits), 1), math.log(logits.shape[1]))
    whole = torch.cat([logits, leak], 1).logsumexp(1, keepdim=True)
    logs = logits - whole
    top = logits.argmax(1, keepdim=True)
    rest = torch.cat([logits.scatter(1, top, -math.inf), leak], 1).logsumexp(1, keepdim=True)
    # The top's own value is replaced before the logarithm too: its gradient would be NaN.
    safe = torch.log1p(-logs.scatter(1, top, -1.0).exp())
    return logs, safe.scatter(1, top, rest - whole)


def norm_step(features: Tensor, step: float) -> Tensor:
    """AFN's term for features (B, D): mean of (|f| - (|f| held fixed + step))^2.

    Xu et al., ICCV 2019, equation 5 (stepwise).
    """
    _expect(features, (None, None), "features")
    norms = features.norm(dim=1)
    return collective.mean((norms - (norms.detach() + step)).square())


def class_weights(chances: Tensor) -> Tensor:
    """gamma (K,): mean of target predictions (B, K) over all workers, divided by the largest.

    Cao et al. (PADA), ECCV 2018, equation 2.
    """
    _expect(chances, (None, None), "chances")
    sums = collective.total(chances.sum(0))
    return sums / sums.max()


def within_classes(
    weights: Tensor, labels: Tensor, classes: int, *, total: Sum = collective.total
) -> Tensor:
    """Positive weights (B,) by their mean over the examples of the same class, of all workers.

    So a class as a whole weighs as many examples as it has. Labels are (B,), below `classes`.
    `total` sums over workers; one that has all examples by itself must not ask the others.
    """
    _expect(weights, (None,), "weights")
    _expect(labels, (len(weights),), "labels")
    of_class = weights.new_zeros(2, classes).index_add(
        1, labels, torch.stack([weights, torch.ones_like(weights)])
    )
    sums, counts = total(of_class)
    means = (sums / counts.clamp(min=1)).clamp(min=torch.finfo(weights.dtype).tiny)
    return torch.div(weights, means[labels])


def _expect(tensor: Tensor, shape: tuple[int | None, ...], name: str) -> None:
    """WrongShape unless the shape fits; None stands for any length."""
    fits = tensor.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise WrongShape(f"{name} have shape {tuple(tensor.shape)}, not ({wanted})")
