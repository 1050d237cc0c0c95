"""The Synthesis Quality Estimator: what a sample's losses say about its worth, learned from its features (MaPhC2F, 3.3.1)."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.pbas.model import compounding_average
from synthgen.runs.devices import in_full

Target: TypeAlias = Literal["easy", "band"]
Scaling: TypeAlias = Literal["rank", "clip", "minmax"]

LIGHTEST, HEAVIEST = 0.1, 3.0  # weight of a synthetic sample in a batch whose synthetic samples weigh 1 on average

_KEEP = 0.9  # of the moving averages, per loss
_TAIL = 0.02  # share of the losses that `clip` cuts off on either side
_EDGE = 0.2  # width of either side of the band
_TINY = 1e-8
_CHUNK = 8192  # features in memory at full precision at a time


class LossTrack(nn.Module):
    """Losses of N synthetic samples, each an exponential moving average: a loss counts 0.9 times as much as the next one.

    The averages are corrected for their start, so that the first losses count as what they are and not as a mean with 0.
    All is float64 in buffers, so `state_dict` is the whole state.

    Args:
        samples: N.

    Attributes:
        times: (N,) int64, how often each sample was seen.
    """

    times: Tensor
    moments: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.register_buffer("times", torch.zeros(samples, dtype=torch.int64))
        self.register_buffer("moments", torch.zeros(samples, 2, dtype=torch.float64))  # averages of losses and their squares

    @property
    def seen(self) -> Tensor:
        """(N,) bool."""
        return self.times > 0

    @property
    def mean(self) -> Tensor:
        """(N,) float64; NaN where a sample was never seen."""
        return self._corrected()[:, 0]

    @property
    def deviation(self) -> Tensor:
        """(N,) float64, under the same weights; 0 after a single loss, NaN where a sample was never seen."""
        mean, square = self._corrected().unbind(1)
        return (square - mean**2).clamp(min=0).sqrt()

    @torch.no_grad()
    def update(self, index: Tensor, losses: Tensor) -> None:
        """Take in the losses of a batch.

        Args:
            index: (K,) int64 of 0 to N - 1; repeats count one after the other.
            losses: (K,) float, on any device.
        """
        index = index.to(self.times.device)
        rows, place, count = torch.unique(index, return_inverse=True, return_counts=True)
        values = losses.to(self.moments)
        both = torch.stack([values, values**2], 1)
        self.moments[rows] = compounding_average(self.moments[rows], both, place, 1 - _KEEP)
        self.times[rows] += count

    def _corrected(self) -> Tensor:
        return self.moments / (1 - _KEEP ** self.times.double())[:, None]


def targets(losses: Tensor, target: Target = "easy", scaling: Scaling = "rank") -> Tensor:
    """The quality that losses speak for (MaPhC2F, Eq. 14).

    The equation scales by the smallest and the largest loss (`minmax`), so that one outlier squeezes all others together,
    and calls a sample the better the lower its loss, so that the most blatant anomaly is the best.

    Args:
        losses: (N,) float, of synthetic samples only: those of normals are lower throughout. NaN: never seen.
        target: `easy` (the equation): 1 minus the scaled loss. `band`: 1 for scaled losses of 0.2 to 0.8, falling smoothly
            to 0 at 0 and at 1; with `rank`, that is the middle three fifths of the samples.
        scaling: of the losses to 0..1: `rank` (equal losses share one), `clip` (from their 2nd to their 98th percentile) or
            `minmax`.

    Returns:
        (N,) float, 0 to 1; NaN where `losses` are.
    """
    seen = ~losses.isnan()
    known = losses[seen]
    if not len(known):
        return losses.clone()
    if scaling == "rank":
        _, place, count = torch.unique(known, return_inverse=True, return_counts=True)
        middle = count.cumsum(0) - count / 2
        scaled = (middle / len(known)).to(losses.dtype)[place]
    else:
        tail = _TAIL if scaling == "clip" else 0.0
        low, high = torch.quantile(known, torch.tensor([tail, 1 - tail], dtype=known.dtype, device=known.device))
        scaled = (known.clamp(low, high) - low) / (high - low + _TINY)
    if target == "easy":
        quality = 1 - scaled
    else:
        ramp = (torch.minimum(scaled, 1 - scaled) / _EDGE).clamp(max=1)
        quality = ramp**2 * (3 - 2 * ramp)
    result = torch.full_like(losses, torch.nan)
    result[seen] = quality
    return result


class Estimator(nn.Module):
    """Quality from a frozen backbone's pooled features: standardised, one linear layer, sigmoid (MaPhC2F, Eq. 13).

    Before it is fitted, every quality is 0.5.

    Args:
        length: D, of a feature.

    Attributes:
        layer: the linear layer, all that is trained.
        mean, deviation: (D,) float32 buffers, of the features it was last fitted to.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layer: nn.Linear = nn.utils.skip_init(nn.Linear, length, 1)  # type: ignore[no-untyped-call]
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("deviation", torch.ones(length))

    def forward(self, features: Tensor) -> Tensor:
        """Estimate.

        The result carries gradients of the layer, for the outer loop. In the loss of a detector it must be detached:
        otherwise lower quality is one more way to a lower loss.

        Args:
            features: (N, D) float of any precision.

        Returns:
            (N,) float, 0 to 1.
        """
        standard = (features.to(self.mean.dtype) - self.mean) / self.deviation
        quality: Tensor = torch.sigmoid(in_full(self.layer, standard)[:, 0])
        return quality

    def fit(
        self,
        features: Tensor,
        targets: Tensor,
        *,
        learning_rate: float,
        epochs: int,
        batch_size: int,
        generator: torch.Generator,
    ) -> float:
        """Train the layer further, from where it is, towards `targets` (MaPhC2F, 3.3.1: squared error; here with AdamW).

        Args:
            features: (N, D) float of all synthetic samples; it is their mean and deviation that standardise.
            targets: (N,) float, 0 to 1; samples with NaN, which were never seen, teach nothing.
            learning_rate: of AdamW.
            epochs: passes over the seen samples.
            batch_size: samples per step.
            generator: of the CPU, shuffles.

        Returns:
            The last epoch's mean squared error.

        Raises:
            ValueError: no sample was seen.
        """
        chosen = torch.nonzero(~targets.isnan())[:, 0].cpu()
        if not len(chosen):
            raise ValueError("no sample was seen")
        mean, deviation = _moments(features)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        optimizer = torch.optim.AdamW(self.layer.parameters(), lr=learning_rate)
        truth = targets.to(self.mean)
        error = 0.0
        for _ in range(epochs):
            total = torch.zeros((), device=self.mean.device)
            order = chosen[torch.randperm(len(chosen), generator=generator)]
            for rows in torch.split(order, batch_size):
                loss = functional.mse_loss(self(features[rows].to(self.mean.device)), truth[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.detach() * len(rows)
            error = float(total) / len(chosen)
        return error


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) float64 mean and deviation of (N, D) features; a deviation of 0 is given as 1."""
    parts = torch.split(features, _CHUNK)
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(features)
    square = torch.stack([(part.double() - mean).square().sum(0) for part in parts]).sum(0) / len(features)
    deviation = square.sqrt()
    return mean, deviation.where(deviation > _TINY, 1.0)


def sample_weights(quality: Tensor, data: Tensor, synthetic: Tensor, sqe_weight: float, data_weight: float) -> Tensor:
    """Weights of a batch's samples in the detector's loss (MaPhC2F, Eq. 15, with corrections).

    Synthetic samples weigh lambda_sqe q + lambda_bi d, and are uniform only where both lambdas are 0: Algorithm 9 makes
    them uniform whenever lambda_sqe is, and so ignores the data weights of Eq. 15. They are then divided by their mean over
    the batch, as weights below 1 throughout would be a lower learning rate and a lower share of anomalies, and kept within
    [0.1, 3], so that none is lost and none rules. Normals weigh 1: they are no synthesis of any quality.

    Gradients reach `quality` and `data` through the mean, and through the bounds as if there were none: a sample at a bound
    can so come back from it.

    Args:
        quality: (B,) float, 0 to 1; the values at normals do not matter.
        data: (B,) float data weights, 0 or more; likewise.
        synthetic: (B,) bool.
        sqe_weight: lambda_sqe, 0 or more.
        data_weight: lambda_bi, 0 or more.

    Returns:
        (B,) float; the mean over synthetic samples is 1 but for the bounds.
    """
    raw = sqe_weight * quality + data_weight * data
    if sqe_weight == data_weight == 0:
        raw = torch.ones_like(raw)
    raw = raw.where(synthetic, 0.0) + _TINY  # all at 0 are uniform, too
    mean = raw.where(synthetic, 0.0).sum() / synthetic.sum().clamp(min=1)
    relative = raw / mean.clamp(min=_TINY)
    bounded = relative + (relative.clamp(LIGHTEST, HEAVIEST) - relative).detach()
    return bounded.where(synthetic, 1.0)
