"""What folders are for, as people call them."""

NORMAL = frozenset({"good", "normal", "ok", "pass"})
"""Images without anomalies."""
NOT_NORMAL = frozenset(
    {"abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defects", "ground_truth", "mask", "masks", "ng", "test"}
)
"""Images with anomalies, or their masks: nothing to paint anomalies on."""


def is_normal(name: str) -> bool:
    """Whether a folder of this name holds normal images, in any case of letters."""
    return name.casefold() in NORMAL


def is_not_normal(name: str) -> bool:
    """Whether a folder of this name holds what is no normal image, in any case of letters."""
    return name.casefold() in NOT_NORMAL
