"""The outer loop: how a sample's weight changes the validation loss, and the steps that follow (MaPhC2F, 6.3).

Weights w act on one step of gradient descent, theta' = theta - (a / B) sum_i w_i grad l_i(theta), and L(theta') is what is
wanted low. The step is linear in w, so dL / dw_i = -(a / B) <grad l_i(theta), grad L(theta')>: the second-order gradient of
Eq. 28 is exact without a graph of the inner step, and one Jacobian-vector product has it for all samples. (Algorithm 10
steps a deep copy with an optimizer, through which no gradient comes back; nor does it put the quality into the weights.)
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

Params: TypeAlias = Mapping[str, Tensor]
Method: TypeAlias = Literal["auto", "jvp", "finite"]

MOST = 3.0  # a data weight is 0 to this
_STEP = 1e-3  # length of the finite difference's step in parameters
_BETAS = (0.9, 0.999)
_TINY = 1e-15  # far below any gradient here


def smooth_maximum(maps: Tensor, pool: int = 16, stride: int = 1, sharpness: float = 20.0) -> Tensor:
    """Image scores that every pixel has a gradient in: (1 / tau) log mean exp(tau m) over the averages m of windows.

    Args:
        maps: (B, H, W) float, the anomaly scores of pixels.
        pool: side of a window; H and W are at least that.
        stride: from one window to the next.
        sharpness: tau; 0 would be the mean, infinity the maximum.

    Returns:
        (B,) float, between the mean and the maximum of a map's windows. One of n windows that alone is 1 among zeros makes
        about 1 - log(n) / tau.
    """
    windows = functional.avg_pool2d(maps[:, None], pool, stride).flatten(1)
    return (torch.logsumexp(sharpness * windows, 1) - math.log(windows.shape[1])) / sharpness


def auc_loss(scores: Tensor, anomalous: Tensor, steepness: float = 10.0) -> Tensor:
    """1 - AUROC, made differentiable: the mean of sigmoid(-alpha (s_i - s_j)) over anomalous i and normal j.

    Args:
        scores: (N,) float, of images (`smooth_maximum`) or of pixels.
        anomalous: (N,) bool.
        steepness: alpha; at infinity the loss is 1 - AUROC, ties counting half.

    Returns:
        Float scalar, 0 to 1.

    Raises:
        ValueError: normals or anomalies are missing.
    """
    above, below = scores[anomalous], scores[~anomalous]
    if not len(above) or not len(below):
        raise ValueError("an AUC needs normals and anomalies")
    return torch.sigmoid(-steepness * (above[:, None] - below)).mean()


def influences(
    losses_of: Callable[[Params], Tensor],
    params: Params,
    weights: Tensor,
    validation_loss_of: Callable[[Params], Tensor],
    inner_learning_rate: float,
    method: Method = "auto",
) -> Tensor:
    """How far each sample's gradient agrees with the validation loss's: s_i = <grad l_i(theta), grad L(theta')>.

    The derivative of the validation loss by the weight of sample i is -(a / B) s_i: of samples with s_i > 0, more is better.
    Both functions are called several times and must give the same at the same parameters: no dropout, and batch norm with
    fixed statistics. Autocast is off around them, and they must not turn it on: forward-mode derivatives of mixed precision
    are not all there (PyTorch 2.11), and it is small differences that matter.

    Args:
        losses_of: the samples' losses at parameters, (B,) float, each of its own sample alone.
        params: theta; no gradient needs be asked of them, and none is left in them.
        weights: (B,) float.
        validation_loss_of: L, a float scalar.
        inner_learning_rate: a, of the inner step.
        method: `jvp` is exact. `finite`, a central difference, takes any network, with an error of rounding (in float32
            about a thousandth of the largest). `auto` is `jvp` where every operation has it, else `finite` with a warning.

    Returns:
        (B,) float without gradient.
    """
    start = {name: value.detach().requires_grad_() for name, value in params.items()}
    device = next(iter(start.values())).device.type
    with torch.autocast(device, enabled=False):
        with torch.enable_grad():
            inner = (losses_of(start) * weights.detach()).mean()
            gradient = torch.autograd.grad(inner, list(start.values()), materialize_grads=True)
            moved = {
                name: (value.detach() - inner_learning_rate * slope).requires_grad_()
                for (name, value), slope in zip(start.items(), gradient, strict=True)
            }
            slopes = torch.autograd.grad(validation_loss_of(moved), list(moved.values()), materialize_grads=True)
        fixed = {name: value.detach() for name, value in start.items()}
        direction = dict(zip(fixed, slopes, strict=True))
        with torch.no_grad():  # which does not stop forward-mode differentiation
            if method == "finite":
                return _central_difference(losses_of, fixed, direction)
            try:
                return _product(losses_of, fixed, direction)
            except RuntimeError as error:  # NotImplementedError is one
                if method == "jvp" or not _lacks_forward_mode(error):
                    raise
                warnings.warn(f"finite differences instead of an exact product: {error}", RuntimeWarning, stacklevel=2)
                return _central_difference(losses_of, fixed, direction)


def _product(losses_of: Callable[[Params], Tensor], params: Params, direction: Params) -> Tensor:
    """(B,) float: the derivative of the losses along a direction."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)  # PyTorch's own use of it
        change: Tensor = torch.func.jvp(losses_of, (params,), (direction,))[1]
    return change


def _central_difference(losses_of: Callable[[Params], Tensor], params: Params, direction: Params) -> Tensor:
    """(B,) float: the change of the losses along a direction, from two points near `params`."""
    norm = torch.stack([torch.linalg.vector_norm(part) for part in direction.values()]).norm()
    step = _STEP / norm.clamp(min=torch.finfo(norm.dtype).tiny ** 0.5)
    after, before = (
        losses_of({name: value + sign * step * direction[name] for name, value in params.items()}) for sign in (1, -1)
    )
    change: Tensor = (after - before) / (2 * step)
    return change


def _lacks_forward_mode(error: RuntimeError) -> bool:
    """Whether PyTorch says that an operation has no forward-mode derivative; it does so in several ways, by text alone."""
    text = str(error)
    return any(words in text for words in ("forward AD", "forward mode AD", "forward-mode AD", "functorch transforms"))


def outer_gradients(
    weights: Tensor, influence: Tensor, inner_learning_rate: float, inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of the validation loss by whatever the weights were computed from: data weights, the estimator's layer.

    For weights lambda_sqe q + lambda_bi d as they are, these are -(a / B) lambda_bi s_i by the data weights and
    -(a / B) lambda_sqe sum_i s_i dq_i / dfc by the layer. Here they are carried through all that the weights went through,
    such as the division by their mean, which makes only the influence relative to other samples count.

    Args:
        weights: (B,) float with their graph.
        influence: (B,) float, as of `influences` at these weights.
        inner_learning_rate: a.
        inputs: tensors that the weights depend on, or may depend on.

    Returns:
        A gradient for each; zeros where the weights do not depend on it.
    """
    slope = influence * (-inner_learning_rate / len(influence))
    return torch.autograd.grad(weights, list(inputs), slope.to(weights.dtype), materialize_grads=True)


def update(
    data: Tensor, gradient: Tensor, learning_rate: float, how: Literal["sign", "sgd", "adam"], state: Tensor
) -> tuple[Tensor, Tensor]:
    """Data weights after a step against their gradient (MaPhC2F, Eq. 28), kept within [0, 3].

    The gradient is a / B times a product of gradients: 1e-3 at best, 1e-6 for small networks. Under the paper's plain descent
    with a learning rate of 1e-4 (`sgd`) no weight ever moves; it must be as large as the gradient is small. `sign` moves a
    weight by it, `adam` by about as much.

    Args:
        data: (N,) float.
        gradient: (N,) float; exactly 0 at samples that were not in the batch, which stay as they are in any case.
        learning_rate: of the step.
        how: it is made.
        state: (3, N) float, Adam's first moments, second moments and counts of steps; zeros at first. Others leave it.

    Returns:
        Data weights and state, other tensors.
    """
    moved = gradient != 0
    if how == "adam":
        first, second, steps = state
        later = torch.stack(
            [torch.lerp(gradient, first, _BETAS[0]), torch.lerp(gradient.square(), second, _BETAS[1]), steps + 1]
        )
        state = later.where(moved, state)
        first, second, steps = state
        steps = steps.clamp(min=1)
        step = first / (1 - _BETAS[0] ** steps) / ((second / (1 - _BETAS[1] ** steps)).sqrt() + _TINY)
    else:
        step = gradient.sign() if how == "sign" else gradient
    return (data - learning_rate * step).clamp(0, MOST).where(moved, data), state.clone()
