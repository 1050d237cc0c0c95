"""What BiSQAD's base model minimises, of each sample apart, so that samples can be weighed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detectors.bisqad.model import Output, precise


@dataclass(frozen=True, slots=True, eq=False)
class Criteria:
    """The losses of each sample, (B,) float, none of which depends on the other samples' errors.

    Attributes:
        pixel: mean cross-entropy over all pixels.
        reconstruction: mean squared error of the reconstructed features, summed over levels.
        anomaly: mean cross-entropy over the pixels of the mask alone, which are too few to matter in `pixel`; 0 where there
            is no mask.
        mask_weight: of `anomaly` in the total.
    """

    pixel: Tensor
    reconstruction: Tensor
    anomaly: Tensor
    mask_weight: float = 0.0

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.pixel + self.mask_weight * self.anomaly + self.reconstruction


def criteria(output: Output, clean: Sequence[Tensor], masks: Tensor, mask_weight: float = 0.0) -> Criteria:
    """The losses of each sample.

    Args:
        output: of the base model.
        clean: (B, C, h, w) float of each level: the features of the images without their anomalies.
        masks: (B, S, S) of 0 and 1 or bool.
        mask_weight: see `Criteria`.
    """
    with torch.autocast(output.logits.device.type, enabled=False):
        entropy = functional.cross_entropy(output.logits, masks.long(), reduction="none")
        marked = masks.to(entropy.dtype)
        anomaly = (entropy * marked).sum((1, 2)) / marked.sum((1, 2)).clamp(min=1)
        errors = [
            (precise(made) - precise(target)).square().mean((1, 2, 3))
            for made, target in zip(output.reconstructions, clean, strict=True)
        ]
        return Criteria(entropy.mean((1, 2)), torch.stack(errors).sum(0), anomaly, mask_weight)
