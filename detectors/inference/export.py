"""A detector as an ONNX file for other runtimes."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from detectors.inference.loading import LoadedRun
from synthgen.errors import IntegrityError, UsageError, to_install
from synthgen.files import whole_file

_TOLERANCE = 1e-3


def export_onnx(run: LoadedRun, path: Path) -> float:
    """Write the detector as ONNX, and compare what ONNX Runtime makes of it with PyTorch.

    The input `image` is (B, 3, H, W) float32 RGB of values 0 to 255, any B; the outputs are `map` (B, H, W) and `score`
    (B,). Size and thresholds are in the file's metadata (`detectors`, JSON).

    Returns:
        The largest difference of the maps and scores of a random image.

    Raises:
        IntegrityError: the detector gives something that is no finite number.
        UsageError: onnx or onnxruntime is not installed, or the two differ by more than 1e-3.
        StorageError: the file cannot be written.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  the exporter needs it
    except ImportError as error:
        raise UsageError(f"export needs {error.name}: {to_install('export')}.") from error
    height, width = run.preprocessing.size
    model = run.model.cpu()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own internals
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            input_names=["image"],
            output_names=["map", "score"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
            verbose=False,
        )
    if program is None:
        raise UsageError("this PyTorch cannot export: use the version in constraints.txt.")
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key = "detectors"
    entry.value = json.dumps(
        {
            **{key: run.config[key] for key in ("detector", "dataset", "category", "backbone_sha256")},
            "preprocessing": run.preprocessing.to_json(),
            "thresholds": asdict(run.thresholds),
        },
        sort_keys=True,
    )
    with whole_file(path) as temporary:
        onnx.save(proto, str(temporary))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        maps, scores = session.run(None, {"image": images[:1].numpy()})
        with torch.inference_mode():
            torch_maps, torch_scores = model(images[:1])
        if not (torch.isfinite(torch_maps).all() and torch.isfinite(torch_scores).all()):
            raise IntegrityError("the detector is broken: its scores are no finite numbers. Train again.")
        difference = max(
            float((torch.from_numpy(maps) - torch_maps).abs().max()),
            float((torch.from_numpy(scores) - torch_scores).abs().max()),
        )
        if not difference <= _TOLERANCE:  # what is no number is not alike
            raise UsageError(f"ONNX Runtime's scores differ from PyTorch's by {difference:.1e}: {path} was not written.")
    return difference
