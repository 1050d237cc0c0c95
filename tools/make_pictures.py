"""The pictures of the README and docs/, from the demo set alone.

python tools/make_pictures.py [--run RUN]      RUN: a `detectors train logical` of the demo tray, for docs/pictures/logical.jpg
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from synthgen.report.sheet import contact_sheet
from synthgen.shards import ShardDataset

PICTURES = Path(__file__).parents[1] / "docs/pictures"
TYPES = ("crack", "corrosion", "scratch", "scuff", "stain", "contamination", "break", "dent")
SYNTHGEN = [sys.executable, "-c", "from synthgen.cli import main; main()"]


def save(name, picture, width=1400):
    """As JPEG, so many pixels wide."""
    size = (width, round(width * picture.shape[0] / picture.shape[1]))
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC)
    cv2.imwrite(str(PICTURES / f"{name}.jpg"), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])


def surface():
    """A sample of each of some types, on the gear and the tray."""
    with tempfile.TemporaryDirectory() as place:
        common = ["--dataset", "demo", "--categories", "gear,tray", "--types", ",".join(TYPES), "--per-image", "1"]
        subprocess.run([*SYNTHGEN, "build", *common, "--size", "384", "--seed", "3", "--out", f"{place}/set"], check=True)
        samples = ShardDataset(f"{place}/set")
        chosen = []
        for k, kind in enumerate(TYPES):
            category = ("gear", "tray")[k % 2]
            of_kind = [s for s in samples if s.label and (s.spec.type, s.spec.category) == (kind, category)]
            of_kind.sort(key=lambda s: s.area)
            chosen.append(of_kind[2 * len(of_kind) // 3])
    save("surface", contact_sheet(chosen, 4))


def logical(run):
    """What the localizer makes of trays that break a rule: image, reconstruction, edges, scores over the image, truth."""
    from detectors.evaluation.evaluate import score_files
    from detectors.inference.loading import load_run
    from detectors.inference.overlays import display_range, overlay
    from detectors.official_test import open_test_split
    from synthgen.runs.devices import choose_compute

    compute = choose_compute("cpu")
    loaded = load_run(run, None, compute)
    files = [file for file in open_test_split("demo", None, "tray") if file.label][:3]
    rows = []
    for scored in score_files(loaded.model, files, loaded.preprocessing, "strict", compute):
        between = loaded.explained(scored.image)
        shown = overlay(scored.image, scored.anomaly_map, *display_range(loaded.thresholds), loaded.thresholds.pixel)
        truth = np.repeat(255 * scored.mask[..., None], 3, 2)
        rows.append(np.hstack([scored.image, between["reconstruction"], between["edges"], shown, truth]))
    save("logical", np.vstack(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    surface()
    if options.run:
        logical(options.run)


if __name__ == "__main__":
    main()
