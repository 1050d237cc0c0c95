"""`detectors` as users run it once something is trained: eval, predict, export, list."""

import csv
import json
import math
import os
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from detectors.data.preprocessing import Preprocessing
from detectors.inference import predict as predicting
from detectors.inference.scoring import score_pixels
from synthgen.errors import IntegrityError, StorageError
from synthgen.runs.devices import Compute
from synthgen.runs.folder import load_tensors, save_tensors
from tests.detectors.commands import SMALL, detectors
from tests.support.builders import build_loco, picture, snapshot, write

pytestmark = pytest.mark.usefixtures("one_thread")


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.pictures, self.words = 0, []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            assert dict(attrs)["src"].startswith("data:image/png;base64,")
            self.pictures += 1

    def handle_data(self, data):
        self.words.append(data)


def test_eval_measures_and_reports(evaluated):
    values = json.loads((evaluated / "metrics.json").read_text())
    assert values["images"] == {"normal": 2, "anomaly": 2}
    assert set(values["metrics"]) == {
        "image_auroc",
        "image_auroc_max",
        "image_ap",
        "image_f1_max",
        "pixel_auroc",
        "pixel_ap",
        "pixel_f1_max",
        "au_pro",
    }
    assert all(0 <= value <= 1 for value in values["metrics"].values())
    assert (values["split"], values["selection"], values["size"]) == ("test", "last", 64)
    page = _Page()
    text = (evaluated / "report.html").read_text()
    page.feed(text)
    assert page.pictures == 3 + 2 * 4
    assert "au_pro" in page.words
    assert "honest" not in text


def test_eval_again_gives_the_same_numbers(evaluated, mvtec):
    before = json.loads((evaluated / "metrics.json").read_text())["metrics"]
    for batch, difference in ((8, 1e-9), (1, 1e-3)):  # in a batch of another size, sums round in another order
        after = json.loads(detectors("eval", evaluated, "--root", mvtec, "--json", "--batch-size", batch).stdout)[0]["metrics"]
        for name, value in before.items():
            assert after[name]["mean"] == pytest.approx(value, abs=difference)


def test_predict_writes_pictures_of_the_images_own_size(evaluated, tmp_path):
    images = tmp_path / "images"
    write(images / "a b.png", picture(1, 90, 120))
    write(images / "deep/ü.jpg", picture(2, 50, 40))
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = detectors("predict", evaluated, images, "--out", tmp_path / "out", ok=False)
    assert done.returncode == 3
    assert "broken.png" in done.stderr
    results = json.loads((tmp_path / "out/scores.json").read_text())
    assert [one["image"].rpartition("/")[2] for one in results] == ["a b.png", "ü.jpg"]
    for one, size in zip(results, ((90, 120), (50, 40)), strict=True):
        for kind in ("overlay", "mask"):
            data = np.frombuffer((tmp_path / "out" / one[kind]).read_bytes(), np.uint8)
            assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED).shape[:2] == size
        assert one["anomalous"] == (one["score"] > one["threshold"])
    table = list(csv.DictReader((tmp_path / "out/scores.csv").read_text().splitlines()))
    assert [float(row["score"]) for row in table] == pytest.approx([one["score"] for one in results])
    missing = detectors("predict", evaluated, tmp_path / "none", ok=False)
    assert (missing.returncode, "no such file or folder" in missing.stderr) == (3, True)


@pytest.mark.parametrize("synthesis", ["ray", "none"])  # scored by the discriminator, and by the distance to the centre
def test_export_gives_what_pytorch_gives(synthesis, trained, mvtec, tmp_path):
    run = trained[0]
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if synthesis == "none":
        run = tmp_path / "run"
        arguments = ["--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--epochs", 1, "--out", run]
        detectors("train", "pbas", *arguments, "--set", "synthesis=none", "--set", "metric=euclidean")
    path = tmp_path / "model.onnx"
    detectors("export", run, "--out", path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["detectors"])
    reading = Preprocessing.from_json(facts["preprocessing"])
    file = mvtec / "bottle/test/scratch/000.png"
    pixels = reading.read(file).astype(np.float32).transpose(2, 0, 1)[None]
    maps, scores = session.run(None, {"image": np.repeat(pixels, 3, 0)})
    detectors("predict", run, file, "--out", tmp_path / "out")
    wanted = json.loads((tmp_path / "out/scores.json").read_text())[0]["score"]
    assert scores.tolist() == pytest.approx([wanted] * 3, abs=1e-3)
    assert maps.shape == (3, 64, 64)


def test_other_weights_than_the_runs_are_refused(evaluated, tmp_path):
    import torchvision

    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    done = detectors("eval", evaluated, "--weights", f"backbone={path}", ok=False)
    assert done.returncode == 2
    assert "was trained with" in done.stderr


def test_a_damaged_run_is_named(evaluated, mvtec, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(evaluated, broken)
    (broken / "model.safetensors").write_bytes((evaluated / "model.safetensors").read_bytes()[:1000])
    done = detectors("eval", broken, "--root", mvtec, ok=False)
    assert done.returncode == 4
    assert "model.safetensors" in done.stderr
    (broken / "config.json").write_text("{")
    assert detectors("eval", broken, "--root", mvtec, ok=False).returncode == 4
    assert detectors("eval", tmp_path / "none", ok=False).returncode == 3


def test_list_and_help():
    assert {"pbas", "bisqad", "logical"} <= set(json.loads(detectors("list", "--json").stdout)["detectors"])
    assert "wide_resnet50_2" in detectors("list").stdout
    assert "test-best" in detectors("train", "--help").stdout


def test_loco_has_its_own_metric(tmp_path):
    root = build_loco(tmp_path / "data", normals=5)
    category = root / "screw_bag"
    shutil.rmtree(category / "test/scratch")
    shutil.rmtree(category / "ground_truth/scratch")
    for kind, value in (("logical_anomalies", 255), ("structural_anomalies", 254)):
        for number in range(2):
            write(category / "test" / kind / f"{number:03}.png", picture(number))
            mask = np.zeros((48, 64), np.uint8)
            mask[10:20, 10:30] = value
            write(category / "ground_truth" / kind / f"{number:03}" / "000.png", mask)
    config = [
        {"defect_name": name, "pixel_value": value, "saturation_threshold": 50, "relative_saturation": False}
        for name, value in (("missing", 255), ("scratch", 254))
    ]
    (category / "defects_config.json").write_text(json.dumps(config))
    run = tmp_path / "run"
    detectors(
        "train",
        "pbas",
        "--dataset",
        "mvtec_loco",
        "--root",
        root,
        "--category",
        "screw_bag",
        *SMALL,
        "--epochs",
        1,
        "--out",
        run,
    )
    detectors("eval", run)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    spro = {name: value for name, value in metrics.items() if "spro" in name}
    assert set(spro) == {"au_spro_logical", "au_spro_structural", "au_spro_mean", "au_spro_pooled"}
    assert spro["au_spro_mean"] == pytest.approx((spro["au_spro_logical"] + spro["au_spro_structural"]) / 2)
    (category / "defects_config.json").unlink()
    assert "defects_config.json is missing" in detectors("eval", run).stderr


@pytest.mark.parametrize("broken", ["weights", "thresholds"])
def test_a_broken_detector_does_not_answer(broken, evaluated, mvtec, tmp_path):
    run = shutil.copytree(evaluated, tmp_path / "run")
    tensors, state = load_tensors(run / "model.safetensors")
    if broken == "weights":
        next(value for value in tensors.values() if value.is_floating_point() and value.ndim > 1)[0, 0] = math.nan
    else:
        state["thresholds"]["pixel"] = math.nan
    save_tensors(run / "model.safetensors", tensors, state)
    images = mvtec / "bottle/test/good"
    for verb in (("predict", run, images, "--out", tmp_path / "out"), ("eval", run, "--root", mvtec), ("export", run)):
        done = detectors(*verb, ok=False)
        assert done.returncode == 4, verb
        assert "model.safetensors" in done.stderr
        assert not done.stdout
    assert not (tmp_path / "out").exists()


def test_scores_that_are_no_numbers_are_an_error():
    class Broken(torch.nn.Module):
        def forward(self, images):
            return images[:, 0], torch.tensor([0.5, math.nan])[: len(images)]

    images = [np.zeros((8, 8, 3), np.uint8)] * 2
    scored = score_pixels(Broken(), images, Compute(torch.device("cpu")))
    with pytest.raises(IntegrityError, match="no finite numbers"):
        next(scored)


def test_one_strange_file_takes_no_score_along(evaluated, tmp_path):
    """Names that are too long for what is added to them, that are no text, that come twice; and what is no file."""
    images = tmp_path / "images"
    for number, place in enumerate(("ab/c.png", "a/b_c.png", "a/B_C.png", "a/b_c.jpg", "a_b/c.png", f"{'x' * 250}.png")):
        write(images / place, picture(number))
    shutil.copy(images / "ab/c.png", os.fsencode(images) + b"/\xff.png")
    os.mkfifo(images / "pipe.png")
    done = detectors("predict", evaluated, images, images / "pipe.png", "--out", tmp_path / "out", ok=False)
    assert done.returncode == 3
    assert "1 of 8 files" in done.stderr
    assert "pipe.png: not-a-file" in done.stderr or "pipe.png: a folder or a device" in done.stderr
    results = json.loads((tmp_path / "out/scores.json").read_text())
    table = list(csv.DictReader((tmp_path / "out/scores.csv").read_text().splitlines()))
    assert len(results) == len(table) == 7
    pictures = [one[kind] for one in results for kind in ("overlay", "mask")]
    assert len({name.casefold() for name in pictures}) == 14
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*pictures, "scores.csv", "scores.json"}


def test_scores_are_kept_when_a_job_ends_early(evaluated, tmp_path, monkeypatch):
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(images):
        write(path, picture(number))

    def full(path, pixels):
        if path.name.endswith("_2_mask.png"):
            raise StorageError("no space")

    monkeypatch.setattr(predicting, "_write_png", full)
    done = detectors("predict", evaluated, *images, "--out", tmp_path / "out", ok=False)
    assert done.returncode == 5
    assert len((tmp_path / "out/scores.csv").read_text().splitlines()) == 1 + 3


def test_an_earlier_result_stays_until_there_is_another_and_images_are_not_painted_over(evaluated, tmp_path):
    write(tmp_path / "in/a.png", picture(0))
    detectors("predict", evaluated, tmp_path / "in", "--out", tmp_path / "out")
    before = snapshot(tmp_path / "out")
    (tmp_path / "none.png").write_bytes(b"")
    assert detectors("predict", evaluated, tmp_path / "none.png", "--out", tmp_path / "out", ok=False).returncode == 3
    assert snapshot(tmp_path / "out") == before
    done = detectors("predict", evaluated, tmp_path / "in/a.png", "--out", tmp_path / "in", ok=False)
    assert (done.returncode, "holds the images themselves" in done.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.png"]


def test_export_of_scores_that_are_no_numbers_is_an_integrity_error(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    run = shutil.copytree(trained[0], tmp_path / "run")
    tensors, state = load_tensors(run / "model.safetensors")
    save_tensors(
        run / "model.safetensors", {name: 1e38 * value if "weight" in name else value for name, value in tensors.items()}, state
    )
    done = detectors("export", run, "--out", tmp_path / "model.onnx", ok=False)
    assert (done.returncode, "no finite number" in done.stderr) == (4, True)
    assert not (tmp_path / "model.onnx").exists()
