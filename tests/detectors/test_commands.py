"""`detectors` as users run it: train, resume, eval, predict, export, compare; on small folders, with an untrained backbone."""

import csv
import json
import shutil
import signal
import time
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from detectors.data.backbones import BACKBONES, load_backbone
from detectors.data.feature_cache import FeatureCache
from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import from_dataset, from_shards, split
from detectors.official_test import TestSplitError, open_test_split, training
from detectors.training.run import spread
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.errors import InputDataError, IntegrityError
from synthgen.runs.folder import load_tensors, save_tensors
from tests.support.builders import build_loco, build_mvtec, picture, write
from tests.support.commands import synthgen
from tests.support.detectors import detectors, start

SMALL = ["--backbone", "resnet18", "--weights", "backbone=random", "--size", 64, "--device", "cpu"]
READING = Preprocessing((64, 64), (64, 64), (64, 64))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_mvtec(tmp_path_factory.mktemp("data"), ("bottle", "screw"), normals=9, size=(80, 80))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "one"
    done = detectors(
        "train", "pbas", "--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL, "--epochs", 3, "--out", out
    )
    assert done.stdout.split() == [str(out)]
    assert "6 normal images to train on, 3 held out" in done.stderr
    assert "the test split is not opened" in done.stderr
    return out


@pytest.fixture(scope="module")
def evaluated(run, root):
    detectors("eval", run, "--device", "cpu")
    return run


def test_a_run_holds_what_it_should(run):
    config, card = (json.loads((run / name).read_text()) for name in ("config.json", "split.json"))
    assert (config["detector"], config["preset"], config["seed"], config["selection"]) == ("pbas", "reference", 0, "last")
    assert config["backbone_sha256"] == "random"
    assert (card["train_normals"], card["held_out_normals"], card["overlap"]) == (6, 3, 0)
    assert set(card["held_out_anomalies"]) <= set(SURFACE_TYPES)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[0]["loss_centre"] > 0
    assert "val_image_auroc" in lines[-1]
    assert cv2.imread(str(run / "seen.png")) is not None
    assert list((run / "tensorboard").iterdir())
    assert not (run / "checkpoint.safetensors").exists()
    tensors, state = load_tensors(run / "model.safetensors")
    assert tensors["centre"].shape == (64, 384)
    assert 0 < state["thresholds"]["usual"] <= state["thresholds"]["pixel"] < 1
    assert not list(run.glob(".tmp-*"))


def test_the_same_again_does_nothing_and_something_else_is_refused(run, root):
    before = (run / "model.safetensors").read_bytes()
    arguments = ["train", "pbas", "--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL, "--out", run]
    assert "finished before" in detectors(*arguments, "--epochs", 3).stderr
    assert (run / "model.safetensors").read_bytes() == before
    done = detectors(*arguments, "--epochs", 4, ok=False)
    assert done.returncode == 2
    assert "settings.epochs: 3 -> 4" in done.stderr


def test_training_cannot_open_the_test_split(root):
    assert open_test_split("mvtec", root, "bottle")
    with training(), pytest.raises(TestSplitError):
        open_test_split("mvtec", root, "bottle")


def test_a_training_that_is_killed_resumes_to_the_same_bytes(root, run, tmp_path):
    out = tmp_path / "killed"
    script = (
        "import detectors.training.options as t; "
        "import detectors.training.loop as e, os, signal; "
        "save = e.RunFolder.save; "
        "e.RunFolder.save = lambda run, name, tensors, facts: (save(run, name, tensors, facts), "
        "os.kill(os.getpid(), signal.SIGKILL) if facts['epoch'] == 2 else None); "
        "import detectors.cli as c; "
        "O = t.Options; t.Options = lambda *a, **k: O(*a, **k, checkpoint_seconds=0.0); c.main()"
    )
    arguments = [
        "train",
        "pbas",
        "--dataset",
        "mvtec",
        "--root",
        root,
        "--category",
        "bottle",
        *SMALL,
        "--epochs",
        3,
        "--out",
        out,
    ]
    with start(script, *arguments) as killed:
        _, err = killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL, err
    assert (out / "checkpoint.safetensors").exists()
    assert not (out / "model.safetensors").exists()
    assert "did not end" in detectors("eval", out, ok=False).stderr
    with (out / "log.jsonl").open("a") as log:
        log.write('{"epoch": 3, "cut')  # what a kill leaves
    detectors(*arguments)
    ours, _ = load_tensors(out / "model.safetensors")
    wanted, _ = load_tensors(run / "model.safetensors")
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_sigterm_ends_a_training_that_can_be_resumed(root, tmp_path):
    arguments = ["train", "pbas", "--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL]
    with start("", *arguments, "--epochs", 5000, "--out", tmp_path / "run") as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = detectors(*arguments, "--epochs", 5000, "--out", tmp_path / "run", ok=False)
        assert second.returncode == 2
        assert "another training is at work" in second.stderr
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "goes on" in err
    assert "Traceback" not in err


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


def test_eval_again_gives_the_same_numbers(evaluated, root):
    before = json.loads((evaluated / "metrics.json").read_text())["metrics"]
    for batch, difference in ((8, 1e-9), (1, 1e-3)):  # in a batch of another size, sums round in another order
        after = json.loads(detectors("eval", evaluated, "--root", root, "--json", "--batch-size", batch).stdout)[0]["metrics"]
        for name, value in before.items():
            assert after[name]["mean"] == pytest.approx(value, abs=difference)


def test_test_best_is_stamped(root, tmp_path):
    out = tmp_path / "best"
    detectors(
        "train", "pbas", "--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL, "--epochs", 2,
        "--select", "test-best", "--out", out,
    )  # fmt: skip
    done = detectors("eval", out)
    assert "test-best*" in done.stdout
    assert "not an honest estimate" in done.stdout
    assert "not an honest estimate" in (out / "report.html").read_text()


def test_seeds_categories_and_compare(root, tmp_path):
    out = tmp_path / "all"
    arguments = [
        "train",
        "pbas",
        "--dataset",
        "mvtec",
        "--root",
        root,
        "--category",
        "all",
        *SMALL,
        "--epochs",
        1,
        "--seeds",
        2,
    ]
    done = detectors(*arguments, "--out", out, "--select", "val")
    assert [line.rpartition("/")[0].rpartition("/")[2] for line in done.stdout.split()] == [
        "bottle",
        "bottle",
        "screw",
        "screw",
    ]
    bottle = [load_tensors(out / "bottle" / f"seed-{seed}" / "model.safetensors")[0] for seed in (0, 1)]
    assert not torch.equal(bottle[0]["projector.weight"], bottle[1]["projector.weight"])
    assert "no evaluated run" in detectors("compare", out, ok=False).stderr
    detectors("eval", out)
    rows = json.loads(detectors("compare", out, "--json").stdout)
    assert [(row["category"], row["seeds"]) for row in rows] == [("bottle", [0, 1]), ("screw", [0, 1])]
    measured = [
        json.loads((out / "bottle" / f"seed-{seed}" / "metrics.json").read_text())["metrics"]["image_auroc"] for seed in (0, 1)
    ]
    assert rows[0]["metrics"]["image_auroc"]["mean"] == pytest.approx(np.mean(measured))
    assert rows[0]["metrics"]["image_auroc"]["deviation"] == pytest.approx(np.std(measured, ddof=1))
    table = list(csv.DictReader(detectors("compare", out, "--csv").stdout.splitlines()))
    assert [row["category"] for row in table] == ["bottle", "screw"]
    assert "±" in detectors("compare", out).stdout


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
def test_export_gives_what_pytorch_gives(synthesis, run, root, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if synthesis == "none":
        run = tmp_path / "run"
        arguments = ["--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL, "--epochs", 1, "--out", run]
        detectors("train", "pbas", *arguments, "--set", "synthesis=none", "--set", "metric=euclidean")
    path = tmp_path / "model.onnx"
    detectors("export", run, "--out", path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["detectors"])
    reading = Preprocessing.from_json(facts["preprocessing"])
    file = root / "bottle/test/scratch/000.png"
    pixels = reading.read(file).astype(np.float32).transpose(2, 0, 1)[None]
    maps, scores = session.run(None, {"image": np.repeat(pixels, 3, 0)})
    detectors("predict", run, file, "--out", tmp_path / "out")
    wanted = json.loads((tmp_path / "out/scores.json").read_text())[0]["score"]
    assert scores.tolist() == pytest.approx([wanted] * 3, abs=1e-3)
    assert maps.shape == (3, 64, 64)


def test_shards_and_images_make_no_difference(root, tmp_path):
    shards = tmp_path / "shards"
    done = synthgen(
        "build", "--dataset", "mvtec", "--root", root, "--categories", "bottle", "--size", 64, "--out", shards, "--jobs", 1
    )
    assert done.returncode == 0, done.stderr
    one, other = from_dataset("mvtec", root, "bottle", READING), from_shards(shards, None, None, READING)
    assert other.category == "bottle"
    for name in ("train_sha256", "held_out_sha256", "train_normals", "held_out_normals"):
        assert one.card[name] == other.card[name]
    for first, second in ((one.normals, other.normals), (one.held_out, other.held_out)):
        assert [image.source for image in first] == [image.source for image in second]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    held_out = {image.source for image in other.held_out}
    assert {sample.spec.source for sample in other.anomalies} <= held_out
    assert {sample.spec.source for sample in one.anomalies} <= held_out
    run = tmp_path / "run"
    detectors("train", "pbas", "--shards", shards, *SMALL, "--epochs", 1, "--out", run)
    detectors("eval", run, "--root", root)


def test_a_split_is_stable_and_keeps_copies_together():
    digests = [f"{number:064x}" for number in range(100)]
    train, held_out = split(digests, 0)
    assert len(held_out) == 10
    assert sorted(train + held_out) == list(range(100))
    assert split(digests, 1)[1] != held_out
    fewer = split(digests[:-1], 0)[1]
    assert len(set(fewer) ^ (set(held_out) - {99})) <= 1
    twice = [*digests, *digests]
    train, held_out = split(twice, 0)
    assert not {twice[i] for i in train} & {twice[i] for i in held_out}
    assert [len(split(digests[:count], 0)[1]) for count in (4, 12, 30)] == [1, 4, 6]


def test_too_few_images_and_unknown_names(root, tmp_path):
    few = tmp_path / "few"
    for number in range(3):
        write(few / "part" / f"{number}.png", picture(number))
    base = ["train", "pbas", *SMALL, "--out", tmp_path / "x"]
    for arguments, status, says in (
        (["--dataset", "folder", "--root", few, "--category", "part"], 3, "at least 4"),
        (["--dataset", "mvtec", "--root", root, "--category", "botle"], 3, "Did you mean 'bottle'"),
        (["--dataset", "mvtec", "--root", root], 2, "--category"),
        (["--dataset", "mvtec", "--root", root, "--category", "bottle", "--set", "alhpa=1"], 2, "Did you mean 'alpha'"),
        (["--dataset", "mvtec", "--root", root, "--category", "bottle", "--select", "best"], 2, "test-best"),
        (["--dataset", "mvtec", "--root", root, "--category", "bottle", "--device", "cuda:77"], 2, "not available"),
        (["--dataset", "mvtec", "--root", root, "--category", "bottle", "--preset", "papr"], 2, "Did you mean 'paper'"),
        (["--shards", tmp_path / "nothing"], 4, "nothing"),
    ):
        done = detectors(*base, *arguments, ok=False)
        assert (done.returncode, says in done.stderr) in {(status, True), (3, True)}, done.stderr
    assert not (tmp_path / "x").exists()
    assert detectors("train", "pbsa", ok=False).returncode == 2


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(root, tmp_path):
    out = tmp_path / "run"
    base = ["train", "pbas", "--dataset", "mvtec", "--root", root, "--category", "bottle", *SMALL, "--epochs", 3, "--out", out]
    done = detectors(*base, "--set", "alpha=1e30", ok=False)
    assert done.returncode == 2  # refused: alpha up to 100
    script = (
        "import detectors.pbas.train as p, torch; real = p.losses\n"
        "def broken(head, rows, config, noise):\n"
        "    terms = real(head, rows, config, noise)\n"
        "    return p_losses(terms.centre * float('nan'), terms.normal, terms.anomaly) if state.epoch == 1 else terms\n"
        "from detectors.pbas.losses import Losses as p_losses\n"
        "class S: epoch = 0\n"
        "state = S()\n"
        "first = p._Training.train_epoch\n"
        "def epoch(self, number):\n"
        "    state.epoch = number - 1\n"
        "    return first(self, number)\n"
        "p._Training.train_epoch = epoch; p.losses = broken\n"
        "import detectors.cli as c; c.main()\n"
    )
    with start(script, *base) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "loss_centre is no number" in err
    assert "Traceback" not in err
    tensors, state = load_tensors(out / "checkpoint.safetensors")
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in tensors.values())


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2"])
def test_weights_of_torchvisions_keys_are_read(name, tmp_path):
    import torchvision

    torch.manual_seed(5)
    whole = getattr(torchvision.models, name)(weights=None)
    path = tmp_path / "weights.pth"
    torch.save({key: value for key, value in whole.state_dict().items() if not key.startswith(("layer4", "fc"))}, path)
    backbone = load_backbone(name, (2, 3), path)
    image = torch.rand(1, 3, 64, 64)
    kept = {}
    for level in (2, 3):
        getattr(whole, f"layer{level}").register_forward_hook(lambda _, __, out, level=level: kept.update({level: out}))
    with torch.inference_mode():
        whole.eval()(image)
        maps = backbone(image)
    assert torch.equal(maps[0], kept[2])
    assert torch.equal(maps[1], kept[3])
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.train()
    assert not backbone.training
    with pytest.raises(IntegrityError, match="is missing"):
        load_backbone("resnet50" if name == "resnet18" else "resnet18", (2, 4), path)


def test_broken_weights_and_models_are_never_unpickled(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for content in (pickle.dumps(Evil()), b"", b"PK\x03\x04" + bytes(100)):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"weights\.pth"):
            load_backbone("resnet18", (2, 3), path)
        with pytest.raises(IntegrityError, match=r"weights\.pth"):
            load_tensors(path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputDataError, match="no such file"):
        load_backbone("resnet18", (2, 3), tmp_path / "missing.pth")


def test_without_network_the_error_says_where_weights_can_be_had(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputDataError) as caught:
        load_backbone("wide_resnet50_2", (2, 3))
    for said in ("wide_resnet50_2-95faca4d.pth", "95faca4d", "https://", "--weights backbone=PATH", "random"):
        assert said in str(caught.value)
    assert {info.sha256 for info in BACKBONES.values()} >= {"95faca4d", "f37072fd"}


def test_other_weights_than_the_runs_are_refused(evaluated, tmp_path):
    import torchvision

    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    done = detectors("eval", evaluated, "--weights", f"backbone={path}", ok=False)
    assert done.returncode == 2
    assert "was trained with" in done.stderr


def test_a_damaged_run_is_named(evaluated, root, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(evaluated, broken)
    (broken / "model.safetensors").write_bytes((evaluated / "model.safetensors").read_bytes()[:1000])
    done = detectors("eval", broken, "--root", root, ok=False)
    assert done.returncode == 4
    assert "model.safetensors" in done.stderr
    (broken / "config.json").write_text("{")
    assert detectors("eval", broken, "--root", root, ok=False).returncode == 4
    assert detectors("eval", tmp_path / "none", ok=False).returncode == 3


@pytest.mark.parametrize("where", ["device", "host", "disk", "auto"])
def test_features_are_kept_anywhere(where, tmp_path):
    rows = torch.randn(7, 4, 3)
    cache = FeatureCache(7, (4, 3), torch.device("cpu"), where, tmp_path)
    for part in rows.split(3):
        cache.append(part)
    assert torch.equal(cache[torch.tensor([5, 0, 6])], rows[[5, 0, 6]])
    assert torch.equal(cache[slice(2, 4)], rows[2:4])
    cache.close()
    assert not list(tmp_path.iterdir())


def test_tensors_keep_their_state(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(6).reshape(2, 3).T}, {"epoch": 3, "best": None})
    tensors, state = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], torch.arange(6).reshape(2, 3).T)
    assert state == {"epoch": 3, "best": None}


def test_commands_are_spread_over_devices():
    assert spread([["list"], ["list", "--json"], ["list"]], ["cpu"]) == 2  # `list` takes no --device: it says so
    assert spread([], ["cpu", "cpu"]) == 0


def test_list_and_help():
    assert {"pbas", "bisqad", "logical"} == set(json.loads(detectors("list", "--json").stdout)["detectors"])
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
