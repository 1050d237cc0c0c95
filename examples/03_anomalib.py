"""anomalib on an MVTec export: it loads the folders, trains a PaDiM, and evaluates it.

    python examples/03_anomalib.py [SET] [--category gear] [--pretrained]

Without SET, one is built from the demo set. Without --pretrained the backbone's weights are random and nothing is downloaded,
so that the figures show that the data are read rightly, and nothing else.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path


def evaluate(folder, category, pretrained=False):
    """Metrics of a PaDiM with a ResNet-18 on `folder/category`, as anomalib computes them."""
    from anomalib.data import MVTecAD
    from anomalib.engine import Engine
    from anomalib.models import Padim

    data = MVTecAD(root=folder, category=category, train_batch_size=8, eval_batch_size=8, num_workers=0)
    model = Padim(backbone="resnet18", layers=["layer1", "layer2"], pre_trained=pretrained)
    with tempfile.TemporaryDirectory() as place:
        engine = Engine(accelerator="cpu", devices=1, default_root_dir=place, logger=False)
        engine.fit(model=model, datamodule=data)
        results = engine.test(model=model, datamodule=data)
    counts = {"train": len(data.train_data), "test": len(data.test_data)}
    return counts, {name: float(value) for name, value in results[0].items()}


def main():
    """Export a set, and hand it to anomalib."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--category", default="gear")
    parser.add_argument("--pretrained", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, exported = options.folder or Path(place) / "set", Path(place) / "mvtec"
        if options.folder is None:
            what = [
                "--dataset",
                "demo",
                "--categories",
                "gear",
                "--types",
                "spot,scratch",
                "--size",
                "128",
                "--strength",
                "strong",
            ]
            subprocess.run(["synthgen", "build", *what, "--strength", "strong", "--out", folder], check=True)
        subprocess.run(["synthgen", "export", folder, "--to", "mvtec", "--out", exported, "--split", "0.6/0.4"], check=True)
        counts, metrics = evaluate(exported, options.category, options.pretrained)
    print(counts)
    print(metrics)


if __name__ == "__main__":
    main()
