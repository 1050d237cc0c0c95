"""`synthgen fit`: a recipe from a few real defects."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.cli.options import PlanRequest
from synthgen.cli.request import plan_from
from synthgen.errors import InputDataError, StorageError, UsageError, to_install
from synthgen.files import write_text
from synthgen.terminal.console import console
from synthgen.terminal.options import with_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detectors.real.fitting import RangeCheck
    from synthgen.anomalies.contract import TypeSettings
    from synthgen.decisions import Decisions, Place
    from synthgen.fitting.fit import FittedType
    from synthgen.samples import Image, Mask
    from synthgen.synthesis import PreparedNormal


@with_options
def fit(
    request: PlanRequest,
    *,
    real: Annotated[
        Path,
        typer.Option(help="Real defects: a folder for each kind, masks in ground_truth/KIND; what --from-real of build takes."),
    ],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("fitted.yaml"),
    check: Annotated[
        bool, typer.Option(help="Keep only ranges that help a detector to find defects which they were not fitted to.")
    ] = True,
    weights: Annotated[str | None, typer.Option(help="backbone=PATH of its weights; default: torchvision's own.")] = None,
    backbone: Annotated[str, typer.Option(help="Of the detector that checks: resnet18, or another.")] = "resnet18",
    objects: Annotated[
        str, typer.Option(metavar="similar|photographs|FILE", help="Which photographs show the same object, as in `worth`.")
    ] = "similar",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Write a recipe that suits a few real defects: copies of them, types like them, and ranges that measure alike.

    [bold]Example[/bold]

      synthgen fit --dataset folder --root good_images --real my_defects --out mine.yaml

      synthgen build --recipe mine.yaml --root good_images
    """
    from dataclasses import replace

    from synthgen.fitting.fit import fit_types

    if request.recipe is not None or request.from_real is not None:
        raise UsageError("`synthgen fit` takes --dataset and --real; a recipe is what it writes.")
    planned = plan_from(replace(request, from_real=real.resolve()))
    place, decisions = _place(planned.decisions), planned.decisions
    messages = console()
    for line in decisions.told:
        messages.print(f"warning: {line}", markup=False)
    names, marked, normals = _looked_at(decisions, place)
    settings = {name: planned.recipe.settings(name) for name, weight in decisions.mixtures[place] if weight}
    fitted = fit_types(marked, normals, settings, planned.recipe.seed)
    checks: dict[str, RangeCheck] = {}
    if check and any(fit.ranges for fit in fitted.values()):
        checks = _checked(fitted, (names, marked), normals, settings, (weights, backbone, objects, device))
    text = _text(decisions, place, fitted, checks if check else None)
    try:
        write_text(out, text)
    except OSError as error:
        raise StorageError(f"--out {out}: cannot be written ({error.strerror or error}).") from error
    for name, fit in fitted.items():
        if fit.real is not None:
            messages.print(f"{name}: {fit.reason}{'; ' + checks[name].reason if name in checks else ''}", markup=False)
    messages.print(f"Read {out}, then: synthgen build --recipe {out} --root DIR", markup=False)
    typer.echo(str(out))


def _place(decisions: "Decisions") -> "Place":
    """The one category."""
    places = [place for place in decisions.mixtures if place in decisions.exemplars]
    if len(places) != 1:
        found = ", ".join(category for _, category in places[:5])
        raise UsageError(f"a recipe is fitted to one category, and there are {found or 'none'}: choose one by --categories.")
    return places[0]


def _looked_at(
    decisions: "Decisions", place: "Place"
) -> "tuple[list[str], list[tuple[str, Image, Mask]], list[PreparedNormal]]":
    """Names of the photographs, the photographs with their masks, and some normal images."""
    from synthgen.datasets.images import read_image
    from synthgen.datasets.masks import read_mask_files, resize_keeping_area
    from synthgen.decisions import voters
    from synthgen.foreground import find_foreground
    from synthgen.painting.surface import Surface
    from synthgen.synthesis import PreparedNormal

    source, recipe = decisions.exemplars[place], decisions.recipe
    marked = []
    for file in source.files:
        image = read_image(file.path, source.size, source.bit_depth)[0]
        marked.append((file.kind, image, resize_keeping_area(read_mask_files(file.path, file.masks), source.size)))
    (category,) = (c for scan in decisions.scans for c in scan.categories if (scan.dataset, c.name) == place)
    method, material = decisions.foregrounds[place].method, recipe.material(*place)
    normals = [
        PreparedNormal(normal, Surface(normal.pixels, find_foreground(normal, method).mask, material), "")
        for normal in voters(recipe, category, 36)
    ]
    if len(normals) < 3:
        raise InputDataError(f"{place[1]}: {len(normals)} normal images to make anomalies of; at least 3 are needed.")
    return [file.name for file in source.files], marked, normals


def _checked(
    fitted: "Mapping[str, FittedType]",
    photographs: "tuple[Sequence[str], Sequence[tuple[str, Image, Mask]]]",
    normals: "Sequence[PreparedNormal]",
    settings: "Mapping[str, TypeSettings]",
    how: tuple[str | None, str, str, str],
) -> "dict[str, RangeCheck]":
    """Which ranges help."""
    weights, backbone, objects, device = how
    try:
        from detectors.data.backbones import load_backbone
        from detectors.real.fitting import check_types
        from detectors.real.objects import objects_of
        from detectors.real.worth.head import LEVELS
        from synthgen.runs.devices import choose_compute
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the check needs {error.name}: {to_install('detectors')}. Or --no-check writes ranges that nobody tried."
        ) from error
    names, marked = photographs
    images = [image for _, image, _ in marked]
    where = choose_compute(device).device
    messages = console()
    return check_types(
        fitted,
        marked,
        objects_of(objects, names, images, [normal.normal.pixels for normal in normals]),
        normals,
        settings,
        backbone=load_backbone(backbone, LEVELS, weights.removeprefix("backbone=") if weights else None).to(where),
        device=where,
        on_message=lambda text: messages.print(text, style="dim"),
    )


def _text(
    decisions: "Decisions", place: "Place", fitted: "Mapping[str, FittedType]", checks: "Mapping[str, RangeCheck] | None"
) -> str:
    """The recipe; `checks` is None where nobody asked for them."""
    from synthgen.fitting.text import recipe_text

    source = decisions.exemplars[place]
    values = decisions.recipe.model_dump(exclude_unset=True, exclude_none=True, mode="json", exclude={"types"})
    kept, reasons = {}, {"real": "copies of the defects themselves"}
    for name, fit in fitted.items():
        helps = checks is None or (name in checks and checks[name].helps)
        kept[name] = fit.ranges if helps else {}
        reasons[name] = fit.reason
        if fit.ranges:
            reasons[name] += "; not checked" if checks is None else f"; {checks[name].reason}"
    told = [
        f"Fitted to {source.sentence()}. Do not measure a detector on these defects.",
        "Weights: half copies; of the rest, most to types that make the like of small defects and lines among them.",
    ]
    return recipe_text(values, decisions.mixtures[place], kept, reasons, told)
