"""What folders are for, as people call them: in any case of letters, with or without `-`, `_` and spaces."""

_NORMAL = frozenset({"good", "normal", "ok", "pass"})
_ANOMALOUS = frozenset(
    {
        "abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defective", "defects", "fail", "failed", "ko", "ng",
        "nok", "notgood", "notok", "reject", "rejected", "test",
    }
)  # fmt: skip
_MASKS = frozenset({"groundtruth", "gt", "mask", "masks"})


def is_normal(name: str) -> bool:
    """Whether a folder of this name holds images without anomalies."""
    return _plain(name) in _NORMAL


def is_not_normal(name: str) -> bool:
    """Whether a folder of this name holds anomalous images or masks: nothing to paint anomalies on."""
    return _plain(name) in _ANOMALOUS | _MASKS


def is_masks(name: str) -> bool:
    """Whether a folder of this name holds masks."""
    return _plain(name) in _MASKS


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character not in "-_ ")
