"""From the ground truth's files to one mask."""

import numpy as np

from detectors.official_test.files import LabelledFile
from detectors.official_test.guard import check_open
from detectors.official_test.resizing import check_rule, resize_mask
from synthgen.datasets.masks import read_mask_files
from synthgen.samples import Mask, Size


def read_mask(file: LabelledFile, size: Size, rule: str = "strict") -> Mask | None:
    """Read the ground truth of one test image, and resize it as the image is resized: the aspect ratio is not kept.

    A pixel is anomalous if any of the files says so, see `read_mask_files`.

    Args:
        file: an image of a test split.
        size: (height, width) wanted, in pixels.
        rule: `strict`, or `paper` for what the published PBAS numbers were measured with (see `resize_mask`).

    Returns:
        (height, width) uint8 {0, 1}; zeros for a normal image. None where nobody knows: an anomalous image without a mask, or
        with one that is empty. (By `paper`, a small defect may leave no pixel; that mask is zeros, as it was published.)

    Raises:
        ClosedSplitError: during training.
        UsageError: an unknown rule.
        InputDataError: a mask cannot be read, or does not have the shape of its image or of the image's other masks.
    """
    check_open()
    check_rule(rule)
    if file.label == 0:
        return np.zeros(size, np.uint8)
    if not file.masks:
        return None
    mask = read_mask_files(file.path, file.masks)
    if not mask.any():
        return None
    return resize_mask(mask, size, "paper-visa" if (rule, file.dataset) == ("paper", "visa") else rule)
