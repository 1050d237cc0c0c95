"""What `synthgen train` can be told: each option once, as a field."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.cli.options import Weights
from synthgen.errors import UsageError
from synthgen.terminal.arguments import assignments

if TYPE_CHECKING:
    from synthgen.runs.devices import Compute

NOT_IN_FACTS = ("format", "format_version", "measured")
"""Of a model's card, what does not describe a training before it has begun."""
_DATA, _HOW, _WHERE = "What to train on", "How to train", "Where"


@dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    """The options of `train`, as typed; None where nothing was said."""

    model: Annotated[
        str,
        typer.Argument(help="edge-generator: draws pictures from edges, for logical and structural. npcf, npcf++: refine."),
    ]
    dataset: Annotated[str | None, typer.Option(help="See `synthgen list datasets`.", rich_help_panel=_DATA)] = None
    root: Annotated[Path | None, typer.Option(help="The dataset's folder.", rich_help_panel=_DATA)] = None
    categories: Annotated[str | None, typer.Option(help="Comma-separated; default: all.", rich_help_panel=_DATA)] = None
    bit_depth: Annotated[int, typer.Option(min=8, max=16, help="Bits in use of 16-bit files.", rich_help_panel=_DATA)] = 16
    shards: Annotated[
        Path | None,
        typer.Option(
            help="npcf, npcf++: instead of --dataset, samples of a `synthgen build` without refinement.", rich_help_panel=_DATA
        ),
    ] = None
    types: Annotated[
        str | None,
        typer.Option(help="npcf, npcf++: anomalies to learn; default: crack,corrosion,deformation.", rich_help_panel=_DATA),
    ] = None
    per_image: Annotated[
        int | None,
        typer.Option(min=1, help="npcf, npcf++: anomalies per normal image and type; default: 3.", rich_help_panel=_DATA),
    ] = None
    style: Annotated[
        str | None, typer.Option(help="npcf, npcf++: realistic or paper; default: realistic.", rich_help_panel=_DATA)
    ] = None
    npcf: Annotated[
        Path | None, typer.Option(help="npcf++: the trained npcf whose pictures it refines.", rich_help_panel=_DATA)
    ] = None
    weights: Weights = ()
    config: Annotated[
        str,
        typer.Option(
            help="A preset. edge-generator: paper256, gpu_small (on a GPU), cpu or cpu64. "
            "npcf, npcf++: default (on a GPU), paper, gpu_small or cpu.",
            rich_help_panel=_HOW,
        ),
    ] = ""
    size: Annotated[
        str | None,
        typer.Option(help="Pixels: 256, or HEIGHTxWIDTH. npcf, npcf++: of the samples; default: 512.", rich_help_panel=_HOW),
    ] = None
    settings: Annotated[
        tuple[str, ...],
        typer.Option(
            "--set",
            help="Another setting, such as steps=800. A name that does not exist is answered with those that do.",
            rich_help_panel=_HOW,
        ),
    ] = ()
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of first weights, order and windows or warps.", rich_help_panel=_HOW)
    ] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_WHERE)] = "auto"
    devices: Annotated[int, typer.Option(min=1, help="npcf, npcf++: so many GPUs share each step.", rich_help_panel=_WHERE)] = 1
    precision: Annotated[str, typer.Option(help="fp32 or bf16; default: bf16 on a GPU.", rich_help_panel=_WHERE)] = ""
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=0, help="npcf, npcf++: processes that make or read samples.", rich_help_panel=_WHERE),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/MODEL/DATASET.", rich_help_panel=_WHERE)] = None

    @property
    def changes(self) -> dict[str, str]:
        """The settings of `--set`, by name."""
        changes = dict(assignments("--set", self.settings, "NAME=VALUE, such as steps=800"))
        if "size" in changes:
            raise UsageError(f"--set size={changes['size']}: give --size {changes['size'] or 'N'} instead.")
        return changes

    def compute(self) -> "Compute":
        """Where and how precisely: on a GPU bf16 unless something else was asked for."""
        from synthgen.runs.devices import choose_compute

        compute = choose_compute(self.device, self.precision or "fp32")
        if compute.device.type == "cuda" and not self.precision:
            return choose_compute(self.device, "bf16")
        return compute

    def refuse(self, *names: str, beside: str = "") -> None:
        """Raise a UsageError if one of these options was given: the model does not have it, or not beside another option."""
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                other = beside or f"`synthgen train {self.model}`"
                raise UsageError(f"--{name.replace('_', '-')} does not go with {other}.")
