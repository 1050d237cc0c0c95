"""Checks that need a GPU: PBAS, the localizer, edge generators, refinement: does it say what the CPU says, and how fast?

    python tools/gpu_check.py                        random weights, random images: times, and agreement with the CPU
    python tools/gpu_check.py --weights FILE --root MVTEC --category bottle      a real category as well
    python tools/gpu_check.py --pidinet FILE --loco MVTEC_LOCO      edge generators on real images as well, sheets in $OUT

One line of JSON per check on stdout; exit status 1 if one of them fails. Goals: a category of 280 images in under 3 minutes
(the paper: 2.5 hours on an RTX 3090), over 2,000 images/s at batch 32 (the paper: 75); the 115,987 images of MaPhC2F refined
by both stages in under 15 minutes of one H200.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from detectors.contract import TrainingOptions
from detectors.data.backbones import load_backbone
from detectors.data.feature_cache import FeatureCache
from detectors.data.held_out import HeldOutImage
from detectors.logical.config import make_config as make_logical_config
from detectors.logical.detector import assemble as assemble_logical
from detectors.pbas.config import make_config
from detectors.pbas.data import Embedded, fill
from detectors.pbas.detector import assemble
from detectors.pbas.model import feature_side
from detectors.pbas.train import train
from synthgen.edges.config import PRESETS as EDGE_PRESETS
from synthgen.edges.generator import Generator, PatchDiscriminator
from synthgen.edges.losses import pixel_loss
from synthgen.edges.pidinet import PiDiNet, load_pidinet
from synthgen.edges.pidinet import edge_maps as edge_maps_of
from synthgen.refine.batches import RefinementBatch
from synthgen.refine.config import NPCF, NPCFPP
from synthgen.refine.config import PRESETS as REFINEMENT_PRESETS
from synthgen.refine.losses import npcf_terms, npcfpp_terms
from synthgen.refine.stages import coarse, fine, make_network
from synthgen.runs.devices import Compute, choose_compute
from synthgen.runs.folder import RunFolder
from synthgen.training.edge_generator import Adversaries, train_step

IMAGES, HELD_OUT = 280, 28


def say(check, ok, **figures):
    print(json.dumps({"check": check, "ok": ok, **figures}), flush=True)
    return ok


def random_images(count, size):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8).numpy() for _ in range(count)]


def agreement(config, weights):
    """The GPU's scores against the CPU's, with the same parameters."""
    images = torch.rand(4, 3, config.size, config.size) * 255
    torch.manual_seed(0)
    backbone = load_backbone(config.backbone, config.levels, weights)
    on_cpu = assemble(config, backbone, choose_compute("cpu"))
    with torch.inference_mode():
        maps, scores = on_cpu(images)
    state = on_cpu.head.state_dict()
    model = assemble(config, backbone, choose_compute("cuda"))
    model.head.load_state_dict({name: value.cuda() for name, value in state.items()})
    with torch.inference_mode():
        other_maps, other_scores = model(images.cuda())
    difference = max(float((other_maps.cpu() - maps).abs().max()), float((other_scores.cpu() - scores).abs().max()))
    return say("scores of GPU and CPU agree", difference < 2e-3, largest_difference=difference)


def training_time(config, weights, precision, epochs):
    compute = choose_compute("cuda", precision)
    model = assemble(config, load_backbone(config.backbone, config.levels, weights), compute)
    shape = (feature_side(config.levels[0], config.size) ** 2, config.embedding_length)
    caches = [FeatureCache(count, shape, compute.device) for count in (IMAGES, 2 * HELD_OUT)]
    watched = random_images(2 * HELD_OUT, config.size)
    images = tuple(
        HeldOutImage(str(k), k % 2, "random", str(k), image, (image[..., 0] > 128).astype("uint8") * (k % 2))
        for k, image in enumerate(watched)
    )
    start = time.monotonic()
    for cache, pictures in zip(caches, (random_images(IMAGES, config.size), watched), strict=True):
        fill(cache, model, pictures, compute)
    torch.cuda.synchronize()
    embedded = time.monotonic() - start
    config = config.model_copy(update={"epochs": epochs})
    model.config = config
    with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder) / "run", {}) as run:
        start = time.monotonic()
        train(model, Embedded(*caches, images), run, TrainingOptions(compute=compute, tensorboard=False))
        torch.cuda.synchronize()
        seconds = time.monotonic() - start
    return say(
        f"training on {IMAGES} images, {epochs} epochs at {config.size}, {precision}",
        embedded + seconds < 180,
        embedding_seconds=round(embedded, 2),
        training_seconds=round(seconds, 2),
        peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2),
        features_on=caches[0].where,
    )


def scoring(config, weights, precision, batch):
    compute = choose_compute("cuda", precision)
    model = assemble(config, load_backbone(config.backbone, config.levels, weights), compute)
    images = torch.randint(0, 256, (batch, config.size, config.size, 3), dtype=torch.uint8).pin_memory()
    rates = []
    with torch.inference_mode(), compute.autocast():
        for _ in range(4):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(30):
                maps, _ = model(images.to(compute.device, non_blocking=True).permute(0, 3, 1, 2).float())
            maps.cpu()
            rates.append(30 * batch / (time.perf_counter() - start))
    goal = 2000 if batch == 32 else 0
    return say(
        f"scoring, batch {batch} at {config.size}, {precision}", max(rates) > goal, images_per_second=round(max(rates), 1)
    )


def real_category(options):
    """The whole command on a real category."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        common = ["--weights", f"backbone={options.weights}", "--device", "cuda"]
        arguments = [
            "--dataset",
            "mvtec",
            "--root",
            options.root,
            "--category",
            options.category,
            "--backbone",
            options.backbone,
        ]
        start = time.monotonic()
        command = [sys.executable, "-m", "detectors"]
        subprocess.run(
            [*command, "train", "pbas", *arguments, *common, "--size", "256", "--epochs", "50", "--out", run], check=True
        )
        seconds = time.monotonic() - start
        subprocess.run([*command, "eval", run, *common], check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    return say(
        f"{options.category}, 50 epochs", metrics["image_auroc"] > 0.9, command_seconds=round(seconds, 1), metrics=metrics
    )


def localizer(preset):
    """The localizer's maps on the GPU against the CPU; its speed is in `python -m tools.bench detectors logical`."""
    config = make_logical_config(preset, "", "", {"size": (256, 320)})
    torch.manual_seed(0)
    on_cpu = assemble_logical(config, None, choose_compute("cpu"))
    images = 255 * torch.rand(2, 3, *config.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps, scores = on_cpu(images)
        model = assemble_logical(config, None, choose_compute("cuda"))
        model.load_state_dict(on_cpu.state_dict())
        other_maps, other_scores = model(images.cuda())
    difference = max(float((other_maps.cpu() - maps).abs().max()), float((other_scores.cpu() - scores).abs().max()))
    return say(f"localizer {preset}: GPU and CPU agree", difference < 5e-3, largest_difference=difference)


def edge_maps(weights):
    """PiDiNet on the GPU against the CPU, and its rate."""
    network = PiDiNet() if weights is None else load_pidinet(Path(weights))
    network.requires_grad_(False).eval()
    images = torch.rand(16, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        on_cpu = edge_maps_of(network, images[:2])
        network.cuda()
        on_gpu = edge_maps_of(network, images[:2].cuda())
        difference = max(float((a.cpu() - b).abs().max()) for a, b in zip(on_gpu, on_cpu, strict=True))
        rate = per_second(lambda: edge_maps_of(network, images.cuda()), 16)
    return say("edge maps of GPU and CPU agree", difference < 5e-3, largest_difference=difference, maps_per_second=rate)


def edge_generator(preset):
    """A generator's pictures and its training step, in the precisions and layouts there are."""
    config = EDGE_PRESETS[preset]
    results = []
    for half in (False, True):
        for layout in (torch.contiguous_format, torch.channels_last):
            torch.manual_seed(0)
            network = Generator(1, config.width, config.halvings, config.blocks).cuda().to(memory_format=layout)
            judge = PatchDiscriminator(4, config.judge_width).cuda().to(memory_format=layout)
            edges = torch.rand(config.batch_size, 1, *config.size).cuda().contiguous(memory_format=layout)
            real = torch.rand(config.batch_size, 3, *config.size).cuda().contiguous(memory_format=layout)
            optimizers = [torch.optim.Adam(part.parameters(), config.learning_rate, fused=True) for part in (network, judge)]
            both = Adversaries(network, judge, *optimizers)

            def draw(network=network, edges=edges, half=half):
                with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half):
                    return network(edges)

            compute = Compute(torch.device("cuda"), "bf16" if half else "fp32")

            def step(parts=(both, pixel_loss, compute, edges, real)):
                return train_step(*parts)

            results.append(say(
                f"edge generator {preset}, batch {config.batch_size}, {'bf16' if half else 'fp32'}, "
                f"{'channels last' if layout == torch.channels_last else 'plain'}",
                bool(torch.isfinite(draw()).all()),
                pictures_per_second=per_second(draw, config.batch_size),
                training_pictures_per_second=per_second(step, config.batch_size, 10),
                peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2),
            ))  # fmt: skip
            del network, judge, optimizers
            torch.cuda.empty_cache()
    return all(results)


def refinement(preset):
    """Both refinement stages: agreement with the CPU, pictures and training windows a second, minutes for the MaPhC2F set."""
    networks = []
    torch.manual_seed(0)
    for model in (NPCF, NPCFPP):
        config = REFINEMENT_PRESETS[model][preset]
        network = make_network(config)
        torch.nn.init.normal_(network.head.weight, std=0.05)  # untrained, its output would be stage A
        networks.append((config, network.eval()))

    def stages(batch):
        (npcf_config, npcf), (npcfpp_config, npcfpp) = networks
        with torch.inference_mode():
            return fine(npcfpp, npcfpp_config, batch, coarse(npcf, npcf_config, batch)[1].float())[1]

    small = refinement_scene(2, 256, "cpu")
    on_cpu = stages(small)
    for _, network in networks:
        network.cuda().to(memory_format=torch.channels_last)
    difference = float((stages(refinement_scene(2, 256, "cuda")).cpu() - on_cpu).abs().max())
    results = [say(f"refinement {preset}: GPU and CPU agree", difference < 5e-3, largest_difference=difference)]
    rates = {}
    for side, count in ((512, 8), (256, 8), (128, 8)):
        batch = refinement_scene(count, side, "cuda")

        def both(batch=batch):
            with torch.autocast("cuda", torch.bfloat16):
                stages(batch)

        rates[side] = per_second(both, count)
    minutes = 115_987 / rates[512] / 60
    told = {f"pictures_per_second_{side}": rate for side, rate in rates.items()}
    results.append(say(f"refinement {preset}: both stages, bf16", minutes < 15, minutes_for_maphc2f=round(minutes, 2), **told))
    for config, network in networks:
        optimizer = torch.optim.AdamW(network.parameters())
        count = config.batch_size
        batch = refinement_scene(count, config.crop, "cuda")
        network.requires_grad_(True)

        def step(config=config, network=network, optimizer=optimizer, batch=batch):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                first = config is networks[0][0]
                stage = coarse(network, config, batch) if first else fine(network, config, batch, batch.stage_a)
            if first:
                terms = npcf_terms(stage[0], batch, config, None)
            else:
                terms = npcfpp_terms(stage[0], (batch.stage_a + 1) / 2, batch, config)
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()

        rate = per_second(step, count, 10)
        peak = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        hours = round(config.steps_of(10_000) * count / rate / 3600, 2)
        name = f"refinement {preset}: training step, {type(config).__name__}, {count} windows of {config.crop}"
        results.append(say(name, True, windows_per_second=rate, hours_in_all=hours, peak_gib=peak))
    return all(results)


def refinement_scene(count, side, device):
    generator = torch.Generator().manual_seed(0)
    normal = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    mask = torch.zeros(count, 1, side, side)
    mask[..., side // 3 : side // 2, side // 3 : side // 2] = 1
    stage_a = torch.where(mask > 0, normal * 0.3, normal)
    return RefinementBatch(*(part.to(device) for part in (normal, stage_a, mask, torch.ones_like(mask))), side / 512)


def per_second(run, batch, times=20):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        run()
    torch.cuda.synchronize()
    return round(times * batch / (time.perf_counter() - start), 1)


def real_edge_edits(root, weights, steps_in_all):
    """Train `gpu_small` on MVTec LOCO's categories in `root`, build from it, and keep the sheets in $OUT."""
    out = Path(os.environ.get("OUT", tempfile.mkdtemp()))
    command = [sys.executable, "-c", "from synthgen.cli import main; main()"]
    common = ["--dataset", "mvtec_loco", "--root", root, *(["--weights", f"pidinet={weights}"] if weights else [])]
    run = out / "edge-generator"
    start = time.monotonic()
    steps = ["--config", "gpu_small", "--set", f"steps={steps_in_all}"]
    subprocess.run([*command, "train", "edge-generator", *common, *steps, "--out", run], check=True)
    seconds = time.monotonic() - start
    common += ["--edge-generator", run]
    start = time.monotonic()
    kinds = ["--types", "logical,structural", "--size", "256", "--per-image", "2", "--max-rejected", "1"]
    subprocess.run([*command, "build", *common, *kinds, "--out", out / "set"], check=True)
    built = time.monotonic() - start
    view = ["view", out / "set", "--steps", "-n", "8", "-o", out / "steps.png", *common[4:]]
    subprocess.run([*command, *view], check=True)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return say("edge edits of real images", True, training_seconds=round(seconds), build_seconds=round(built), log=log[-2:])


def speed(detector, words):
    """Whether the benchmark of a detector's speed ran; its record is kept in $OUT."""
    out = os.environ.get("OUT", tempfile.mkdtemp())
    command = [sys.executable, "-m", "tools.bench", "detectors", "--into", out, detector, "--device", "cuda", *words]
    return subprocess.run(command, check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="wide_resnet50_2")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--root")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--pidinet", help="its weights; random ones without")
    parser.add_argument("--loco", help="folder with categories of MVTec LOCO, to train an edge generator on")
    parser.add_argument("--edge-steps", type=int, default=4000)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    results = []
    for preset in ("paper", "reference"):
        config = make_config(preset, "", "", {"backbone": options.backbone})
        results.append(agreement(config, options.weights))
        results += [training_time(config, options.weights, precision, config.epochs) for precision in ("fp32", "bf16")]
        results += [
            scoring(config, options.weights, precision, batch) for precision in ("fp32", "bf16") for batch in (1, 8, 32)
        ]
    results.append(speed("pbas", ["--backbone", options.backbone, "--batch", "32"]))
    for preset, backbone in (("lite", "resnet18"), ("full", "wide_resnet50_2")):
        more = ["--size", "256", "--images", "128"]
        results.append(speed("bisqad", ["--preset", preset, "--backbone", backbone, *more]))
    results.append(localizer("small"))
    for preset, batch in (("paper", "15"), ("paper", "1"), ("cpu", "15")):
        results.append(speed("logical", ["--preset", preset, "--batch", batch, "--size", "256"]))
    results.append(edge_maps(options.pidinet))
    results += [edge_generator(preset) for preset in ("gpu_small", "paper256")]
    results += [refinement(preset) for preset in ("gpu_small", "default")]
    if options.loco:
        results.append(real_edge_edits(options.loco, options.pidinet, options.edge_steps))
    if options.root:
        results.append(real_category(options))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
