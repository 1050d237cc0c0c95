"""What an object is, by a small network: a closed outline, whatever lies within it and whatever ground it lies on.

A model of the border's colours takes shadows for the object, and dark products for the dark ground. The network (a U-Net of
0.2 million weights) has learned the difference from random rendered scenes alone (`tools/foreground`): no image of anybody's
product, and no weights of anybody's. OpenCV runs it, which is here anyway.
"""

import threading
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image

VERSION = 1
"""Raised whenever the weights change; part of the cache's key."""
SIDE = 128
"""Pixels a side of what the network sees; the outline is then moved to the edge in the image itself."""

_FILE = Path(__file__).with_name("network.onnx")
_ONE_AT_A_TIME = threading.Lock()  # a network of OpenCV holds the values of the image that it works on


def probability(pixels: Image) -> NDArray[np.float32]:
    """How likely each place of a (H, W, 3) uint8 RGB image is foreground: (128, 128) float32, 0 to 1.

    Of a texture that fills the frame, everything is.
    """
    small = np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    with _ONE_AT_A_TIME:
        network = _network()
        network.setInput(seen(small).transpose(2, 0, 1)[None])
        logits = np.asarray(network.forward()[0, 0], np.float32)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def seen(small: Image) -> NDArray[np.float32]:
    """(128, 128, 3) uint8 RGB as the network sees it: Lab, from -1 to 1 for what is usual."""
    lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return np.asarray(lab / np.float32(50) - np.array([1, 0, 0], np.float32), np.float32)


@cache
def _network() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(np.fromfile(_FILE, np.uint8))
