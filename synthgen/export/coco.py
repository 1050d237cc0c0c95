"""COCO's instances: `SPLIT/NAME.png`, and `annotations/instances_SPLIT.json` with a mask for each connected part."""

import json
from pathlib import Path
from typing import Any

from synthgen.export.folder import Writers, facts
from synthgen.export.instances import instances, run_lengths
from synthgen.export.selection import Chosen, SplitPart

SHARES = ()
NAMES = ("train", "val")


def write(folder: Path, chosen: Chosen) -> dict[str, int]:
    """Write images and annotations; normal images are there without annotations. Categories are the types of anomalies."""
    types = sorted({str(name) for name in chosen.dataset.column("type")})
    counts = {"images": 0, "instances": 0}
    (folder / "annotations").mkdir()
    for part in chosen.parts:
        images, annotations = _part(folder, chosen, part, types)
        values = {
            "info": {"description": "anomalies made by synthgen", "version": "1.0"},
            "licenses": [],
            "categories": [{"id": k, "name": name, "supercategory": "anomaly"} for k, name in enumerate(types, 1)],
            "images": images,
            "annotations": annotations,
        }
        (folder / "annotations" / f"instances_{part.name}.json").write_text(json.dumps(values, ensure_ascii=False))
        counts["images"] += len(images)
        counts["instances"] += len(annotations)
    return counts


def _part(folder: Path, chosen: Chosen, part: SplitPart, types: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with Writers() as writers:
        for number in part.normals:
            normal, name = chosen.dataset.normal(number), f"{chosen.normal_names[number]}_good.png"
            writers.png(folder / part.name / name, normal.pixels)
            known = {"dataset": normal.dataset, "category": normal.category, "source": normal.source}
            images.append(_image(len(images), name, normal.pixels.shape, known))
        for number in part.samples:
            sample, name = chosen.sample(number), f"{chosen.names[number]}.png"
            writers.png(folder / part.name / name, sample.image)
            images.append(_image(len(images), name, sample.mask.shape, facts(sample)))
            for instance in instances(sample.mask):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": images[-1]["id"],
                        "category_id": types.index(sample.spec.type) + 1,
                        "bbox": list(instance.box),
                        "area": instance.area,
                        "iscrowd": 0,
                        "segmentation": {"size": list(sample.mask.shape), "counts": run_lengths(instance.mask)},
                    }
                )
    return images, annotations


def _image(number: int, name: str, shape: tuple[int, ...], known: dict[str, Any]) -> dict[str, Any]:
    return {"id": number + 1, "file_name": name, "height": shape[0], "width": shape[1], "synthgen": known}
