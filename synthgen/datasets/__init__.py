"""Normal images from datasets on disk, from one's own folders, or rendered.

`scan` finds the official normal training images (never test or validation images) and says which files cannot be used;
`read_normal` reads one of them. What is known about each dataset is in `manifests/datasets/`.
"""

from synthgen.datasets.info import CategoryInfo, DatasetInfo, dataset_info, dataset_names
from synthgen.datasets.records import CategoryScan, DatasetScan, NormalSource, RejectedFile
from synthgen.datasets.roots import resolve_root
from synthgen.datasets.scanning import scan
from synthgen.samples import NormalImage, Size

__all__ = [
    "CategoryInfo",
    "CategoryScan",
    "DatasetInfo",
    "DatasetScan",
    "NormalSource",
    "RejectedFile",
    "dataset_info",
    "dataset_names",
    "read_normal",
    "resolve_root",
    "scan",
]


def read_normal(source: NormalSource, size: Size, bit_depth: int = 16) -> NormalImage:
    """Read one normal image and resize it, ignoring its aspect ratio.

    Args:
        source: an image that a scan found usable.
        size: (height, width) wanted, in pixels.
        bit_depth: how many of a 16-bit file's bits hold data, 8 to 16.

    Raises:
        InputDataError: the file cannot be read or decoded (any more); the text names it.
    """
    # imported here: a command's --help need not wait for OpenCV
    if source.path is None:
        from synthgen.datasets.demo import read_rendered

        pixels, sha256 = read_rendered(source.category, source.stem, size)
    else:
        from synthgen.datasets.images import read_image

        pixels, sha256 = read_image(source.path, size, bit_depth)
    return NormalImage(source.dataset, source.category, source.source, sha256, pixels)
