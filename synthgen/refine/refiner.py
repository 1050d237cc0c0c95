"""Refines rendered anomalies: what a user brings travels to worker processes as `RefinementTools`, each sets up `Refiner`s.

`none` leaves stage A as it is; `phase-field` needs nothing; `npcf` needs trained networks, `npcf++` both kinds, one of each
for every dataset. A sample's window, and so its pixels, depend on the sample alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthgen.errors import IntegrityError, UsageError, suggest
from synthgen.files import file_sha256
from synthgen.painting.rendered import Rendered
from synthgen.refine import phase_field
from synthgen.refine.windows import Window, finished, window_at
from synthgen.samples import Box, Image, Size

if TYPE_CHECKING:
    from synthgen.refine.model import Refinement

NONE, PHASE_FIELD, NPCF, NPCFPP, AUTO = "none", "phase-field", "npcf", "npcf++", "auto"
STAGES = (NONE, PHASE_FIELD, NPCF, NPCFPP)
ALIASES = {"pde": PHASE_FIELD, "npcfpp": NPCFPP}

_MARGIN = 16  # pixels of a 512-pixel image that the networks see around an anomaly, at least
_SIDES = (64, 128, 256, 512, 1024, 2048, 4096)  # few, so that many windows fill a pass
_AT_ONCE = 8  # windows of one pass on a GPU


@dataclass(frozen=True, slots=True)
class RefinementTools:
    """What a user brings for refinement.

    Attributes:
        npcf, npcfpp: trained networks, their files or their trainings' folders; one of each for a dataset.
        device: `cpu`, `cuda` or `cuda:N`.
        sealed: digests of these files, once they were looked at: what was planned with is what is used, in every process.
    """

    npcf: tuple[Path, ...] = ()
    npcfpp: tuple[Path, ...] = ()
    device: str = "cpu"
    sealed: tuple[str, ...] = ()

    @property
    def reach(self) -> str:
        """The last stage that these networks can do."""
        return NPCFPP if self.npcfpp else NPCF if self.npcf else NONE

    def seal(self) -> "RefinementTools":
        """The same with the digests of the files. Raises InputDataError if one is missing."""
        return replace(self, sealed=self._digests())

    def check_seal(self) -> None:
        """Raise an IntegrityError if a file is no longer what it was."""
        if self.sealed and self.sealed != self._digests():
            raise IntegrityError("a network of --npcf or --npcfpp changed since this began. Start anew.")

    def _digests(self) -> tuple[str, ...]:
        from synthgen.refine.model import model_file

        named = [*((path, NPCF) for path in self.npcf), *((path, NPCFPP) for path in self.npcfpp)]
        return tuple(file_sha256(model_file(path, model)) for path, model in named)


NO_NETWORKS = RefinementTools()


def canonical_stage(name: str) -> str:
    """The stage that a name means. Raises UsageError if there is none."""
    plain = ALIASES.get(name, name)
    if plain not in (*STAGES, AUTO):
        raise UsageError(
            f"there is no refinement {name!r}: expected {', '.join((*STAGES, AUTO))}.{suggest(name, list(STAGES))}"
        )
    return plain


@lru_cache(maxsize=4)
def refiner(stage: str, tools: RefinementTools, dataset: str, size: Size) -> "Refiner | None":
    """This process's refiner of a dataset's samples; None where nothing is refined."""
    return None if stage == NONE else Refiner(stage, tools, dataset, size)


class Refiner:
    """One stage, for the samples of one dataset.

    Args:
        stage: one of `STAGES`.
        tools: what the user brought.
        dataset: name of the dataset.
        size: (height, width) of the samples in pixels.

    Raises:
        UsageError: no network for this dataset was given, or none for this size, or two that do not belong together.
        InputDataError, IntegrityError: a network is missing or damaged.
    """

    def __init__(self, stage: str, tools: RefinementTools, dataset: str, size: Size) -> None:
        self.stage, self._tools, self._dataset, self._size = stage, tools, dataset, size
        self._scale = min(size) / 512

    @cached_property
    def name(self) -> str:
        """What is recorded with every sample: the stage with its version, or the networks with the start of their digests."""
        if self.stage == PHASE_FIELD:
            return f"phase-field {phase_field.VERSION}"
        return " + ".join(f"{network.card.model} {network.sha256[:12]}" for network in self._networks)

    @cached_property
    def identity(self) -> dict[str, str]:
        """What decides the refined pixels besides the sample, as JSON types."""
        if self.stage == PHASE_FIELD:
            return {"phase_field": str(phase_field.VERSION)}
        device = self._tools.device.partition(":")[0]
        return {"device": device} | {network.card.model: network.sha256 for network in self._networks}

    def unseen(self, types: Sequence[str]) -> list[str]:
        """The types among these that its networks have not learned."""
        networks = self._networks if self.stage != PHASE_FIELD else ()
        return sorted(name for name in set(types) if any(name not in network.card.types for network in networks))

    def check(self, categories: Sequence[str]) -> None:
        """Raise a UsageError unless the networks have seen these categories."""
        for network in self._networks if self.stage != PHASE_FIELD else ():
            if strange := sorted(set(categories) - set(network.card.categories)):
                raise UsageError(
                    f"{network.path}: has never seen {', '.join(strange)} of {self._dataset}, only "
                    f"{', '.join(network.card.categories)}. Give --categories, or train one on all of them."
                )

    @property
    def at_once(self) -> int:
        """Anomalies that are refined in one pass."""
        return 1 if self.stage == PHASE_FIELD or self._tools.device == "cpu" else _AT_ONCE

    def refine(self, normals: Sequence[Image], rendered: Sequence[Rendered]) -> list[Rendered]:
        """Rendered anomalies, refined; those that are empty or refused stay as they are.

        Args:
            normals: (H, W, 3) uint8 RGB whole normal images.
            rendered: stage A on each of them.
        """
        outcome = list(rendered)
        chosen = [k for k, part in enumerate(rendered) if part.mask.any() and not part.refused]
        if self.stage == PHASE_FIELD:
            for k in chosen:
                outcome[k] = phase_field.refine(normals[k], rendered[k], self._scale)
            return outcome
        windows = [window_at(normals[k], rendered[k], self._box(rendered[k].box)) for k in chosen]
        for k, window, changed in zip(chosen, windows, self._drawn(windows), strict=True):
            outcome[k] = finished(normals[k], window, changed, None, self._scale)
        return outcome

    def _box(self, box: Box) -> Box:
        """The window of an anomaly's box: of one of few sizes, so that windows can be refined together."""
        margin = max(round(_MARGIN * self._scale), 4)
        spans = []
        for low, high, side in ((box[0], box[2], self._size[0]), (box[1], box[3], self._size[1])):
            length = min(next(length for length in (*_SIDES, side + 2 * margin) if length >= high - low + 2 * margin), side)
            start = int(np.clip((low + high - length) // 2, 0, side - length))
            spans.append((start, start + length))
        (y0, y1), (x0, x1) = spans
        return y0, x0, y1, x1

    def _drawn(self, windows: Sequence[Window]) -> list[Image]:
        """What the networks make of the windows; each alone on a CPU, on a GPU always the same number at once."""
        drawn: list[Image] = [window.stage_a for window in windows]
        shapes: dict[tuple[int, ...], list[int]] = {}
        for number, window in enumerate(windows):
            shapes.setdefault(window.mask.shape, []).append(number)
        count = self.at_once
        for numbers in shapes.values():
            for start in range(0, len(numbers), count):
                batch = numbers[start : start + count]
                # filled up where there are fewer: a GPU may round differently for another number
                filled = [windows[number] for number in (*batch, *[batch[0]] * (count - len(batch)))]
                for number, picture in zip(batch, self._passed(filled), strict=False):
                    drawn[number] = picture
        return drawn

    def _passed(self, windows: Sequence[Window]) -> list[Image]:
        """The pictures of one pass through the networks."""
        import torch

        from synthgen.refine.batches import padded, padded_size, to_batch
        from synthgen.refine.stages import coarse, fine
        from synthgen.runs.devices import exactly
        from synthgen.runs.pictures import to_pictures

        height, width = windows[0].mask.shape
        size = padded_size((height, width))
        both = np.stack([padded(np.concatenate([window.normal, window.stage_a], 2), size) for window in windows])
        mask = torch.from_numpy(np.stack([padded(window.mask, size) for window in windows]))
        networks = self._networks
        place = networks[0].device
        with exactly(), torch.inference_mode():
            batch = to_batch(torch.from_numpy(both), mask, mask.float(), self._scale, place)
            with torch.autocast(place.type, torch.bfloat16, enabled=place.type != "cpu"):
                picture = coarse(networks[0].network, networks[0].card.config, batch)[1]  # type: ignore[arg-type]
                if len(networks) > 1:
                    card, network = networks[1].card, networks[1].network
                    picture = 2 * fine(network, card.config, batch, picture.float())[1] - 1  # type: ignore[arg-type]
            pictures = to_pictures(picture)
        return [np.ascontiguousarray(picture[:height, :width]) for picture in pictures]

    @cached_property
    def _networks(self) -> "tuple[Refinement, ...]":
        """The networks of the stage, one after the other."""
        networks = [self._network(NPCF, self._tools.npcf)]
        if self.stage == NPCFPP:
            networks.append(self._network(NPCFPP, self._tools.npcfpp))
            if networks[1].card.coarse_sha256 != networks[0].sha256:
                raise UsageError(
                    f"--npcfpp {networks[1].path}: was trained on the pictures of another npcf (SHA-256 "
                    f"{networks[1].card.coarse_sha256[:12]}...) than --npcf {networks[0].path}."
                )
        self._tools.check_seal()
        return tuple(networks)

    def _network(self, model: str, paths: Sequence[Path]) -> "Refinement":
        from synthgen.refine.model import load_refinement, option_of, read_card

        cards = [read_card(path, model) for path in paths]
        fitting = [path for path, card in zip(paths, cards, strict=True) if card.dataset == self._dataset]
        if len(fitting) != 1:
            known = ", ".join(f"{path} ({card.dataset})" for path, card in zip(paths, cards, strict=True)) or "none"
            raise UsageError(
                f"{option_of(model)}: one {model} trained on {self._dataset} is needed; given: {known}. "
                f"`synthgen train {model} --dataset {self._dataset}` trains one."
            )
        loaded = load_refinement(fitting[0], model, self._tools.device)
        if loaded.card.size != self._size:
            trained_on, asked = ("{}x{}".format(*size) for size in (loaded.card.size, self._size))
            raise UsageError(
                f"{option_of(model)} {fitting[0]}: was trained on samples of {trained_on} pixels, not of {asked}. "
                f"Give --size {trained_on}, or train one for this size."
            )
        return loaded
