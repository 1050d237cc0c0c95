"""The official test split of a dataset: its images, labels and ground-truth masks. For evaluation only.

Nothing here opens while a detector is being trained (`closed`), so no test image can choose a model or a threshold.
"""

from detectors.official_test.files import LabelledFile, open_test_split
from detectors.official_test.guard import ClosedSplitError, closed
from detectors.official_test.masks import read_mask
from detectors.official_test.resizing import RULES, resize_mask

__all__ = ["RULES", "ClosedSplitError", "LabelledFile", "closed", "open_test_split", "read_mask", "resize_mask"]
