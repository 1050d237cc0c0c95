"""A COCO export, read by pycocotools, and by FiftyOne where that is installed. `python examples/04_coco.py [SET]`."""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path


def check(folder, split="train"):
    """Images, instances and anomalous pixels that pycocotools finds."""
    from pycocotools.coco import COCO

    coco = COCO(str(Path(folder) / "annotations" / f"instances_{split}.json"))
    found = coco.loadAnns(coco.getAnnIds())
    pixels = sum(int(coco.annToMask(one).sum()) for one in found)
    assert pixels == sum(one["area"] for one in found)
    return len(coco.getImgIds()), len(found), pixels


def show(folder, split="train"):
    """The same in FiftyOne's viewer."""
    import fiftyone

    dataset = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.COCODetectionDataset,
        data_path=str(Path(folder) / split),
        labels_path=str(Path(folder) / "annotations" / f"instances_{split}.json"),
        label_types="segmentations",
    )
    print(dataset)


def main():
    """Export a set, and read it."""
    with tempfile.TemporaryDirectory() as place:
        folder, exported = sys.argv[1] if len(sys.argv) > 1 else Path(place) / "set", Path(place) / "coco"
        if len(sys.argv) < 2:
            what = ["--dataset", "demo", "--categories", "gear", "--types", "spot,scratch", "--size", "96"]
            subprocess.run(["synthgen", "build", *what, "--out", folder], check=True)
        subprocess.run(["synthgen", "export", folder, "--to", "coco", "--split", "0.8/0.2", "--out", exported], check=True)
        print("{} images, {} instances, {} anomalous pixels".format(*check(exported)))
        if find_spec("fiftyone"):
            show(exported)


if __name__ == "__main__":
    main()
