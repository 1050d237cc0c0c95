"""Masks by Segment Anything (Kirillov et al. 2023), from a checkpoint that the user brings: the source of regions in LogicAL
and of foregrounds in MaPhC2F.

Needs PyTorch and the package `segment-anything`; both are imported only when masks are asked for.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.edges.regions import BoolMask, covers_border
from synthgen.errors import IntegrityError, UsageError, to_install
from synthgen.files import file_sha256
from synthgen.samples import Image, Mask

if TYPE_CHECKING:
    from torch import Tensor

WHERE = (
    "Any of SAM's published checkpoints will do: sam_vit_b_01ec64.pth (375 MB), sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth, "
    "from https://github.com/facebookresearch/segment-anything#model-checkpoints"
)
"""Where to get a checkpoint, for people."""

_POINTS_PER_SIDE, _POINTS_PER_SIDE_CPU = 24, 16
_SMALLEST_SHARE = 1e-3  # of the image: islands and holes below it are not kept
_DECODER_HEADS = 8  # the one number of the published models that no tensor's shape tells


class SamRegions:
    """SAM's automatic masks. Picklable; the weights are loaded when the first masks are asked for."""

    def __init__(self, checkpoint: Path, device: str = "cpu", points_per_side: int | None = None) -> None:
        """Take a checkpoint.

        Args:
            checkpoint: a `.pth` file of ViT-B, -L or -H, or of the same architecture in another size.
            device: where to compute, such as `"cuda"`; PyTorch's name.
            points_per_side: prompts are a square grid of so many points a side; None for 24, on a CPU 16.

        Raises:
            UsageError: there is no such file, or no package to run it with.
        """
        require(checkpoint)
        self._checkpoint = checkpoint
        self._device = device
        self._points = points_per_side or (_POINTS_PER_SIDE_CPU if device == "cpu" else _POINTS_PER_SIDE)

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the checkpoint."""
        return file_sha256(self._checkpoint)

    def masks(self, image: Image) -> list[BoolMask]:
        """SAM's masks of a (H, W, 3) uint8 RGB image: (H, W) bool each; they overlap.

        On a CPU this takes minutes with the published models. It then runs on one thread, whose number would change the last
        bits, and with them pixels: several processes use several cores.

        Raises:
            IntegrityError: the checkpoint is damaged, or none of SAM's.
        """
        import torch
        from segment_anything import SamAutomaticMaskGenerator

        generator = SamAutomaticMaskGenerator(
            self._model,
            points_per_side=self._points,
            points_per_batch=64,
            pred_iou_thresh=0.88,
            stability_score_thresh=0.95,
            box_nms_thresh=0.7,
            min_mask_region_area=round(_SMALLEST_SHARE * image.shape[0] * image.shape[1]),
        )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            records = generator.generate(image)
        finally:
            torch.set_num_threads(threads)
        return [np.asarray(record["segmentation"], bool) for record in records]

    @cached_property
    def _model(self) -> Any:
        return load_sam(self._checkpoint).to(self._device)

    def __getstate__(self) -> dict[str, object]:
        """Everything but the weights."""
        return {name: value for name, value in self.__dict__.items() if name != "_model"}


def foreground_of(masks: Sequence[BoolMask], height: int, width: int) -> Mask:
    """(H, W) uint8 {0, 1}: what any of SAM's masks shows, but for the masks that run along the image's border.

    Unlike a region, an object may be larger than half of the image.
    """
    union = np.zeros((height, width), bool)
    for mask in masks:
        if not covers_border(mask):
            union |= mask
    return union.astype(np.uint8)


def require(checkpoint: Path) -> None:
    """Raise a UsageError unless there is such a file and a package to run it with; imports nothing."""
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint}: there is no such SAM checkpoint. {WHERE}.")
    if not (find_spec("torch") and find_spec("torchvision") and find_spec("segment_anything")):
        raise UsageError(f"SAM needs more packages: {to_install('edges')}.")


def load_sam(checkpoint: Path) -> Any:
    """A `segment_anything.modeling.Sam` with the checkpoint's weights, in eval mode on the CPU.

    Raises:
        IntegrityError: the file is damaged, or holds no SAM.
    """
    from synthgen.runs.weights import read_weights

    state = read_weights(checkpoint, f"{WHERE}.")
    try:
        model = build_sam(state)
        model.load_state_dict(state, strict=True)
    except (AttributeError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise IntegrityError(f"{checkpoint}: its tensors are not those of a SAM ({reason}). {WHERE}.") from error
    return model.eval()


def build_sam(state: Mapping[str, "Tensor"]) -> Any:
    """A SAM of the architecture that the tensors' shapes tell, such as ViT-B, -L or -H, without their values.

    Args:
        state: tensors by name, as in the published checkpoints.

    Raises:
        KeyError: a tensor is missing; other built-in errors for shapes that no SAM has.
    """
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    from torch.nn import LayerNorm

    width, _, _, patch = state["image_encoder.patch_embed.proj.weight"].shape
    grid = state["image_encoder.pos_embed"].shape[1]
    depth = _count(state, "image_encoder.blocks")
    # a block's relative positions reach over its window, or over the whole grid where it attends globally
    reach = [(state[f"image_encoder.blocks.{k}.attn.rel_pos_h"].shape[0] + 1) // 2 for k in range(depth)]
    head_width = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    channels = state["image_encoder.neck.0.weight"].shape[0]
    decoder = "mask_decoder.transformer.layers"
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=grid * patch,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=width // head_width,
            mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            out_chans=channels,
            norm_layer=partial(LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=max((length for length in reach if length != grid), default=0),
            global_attn_indexes=tuple(k for k, length in enumerate(reach) if length == grid),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch, grid * patch),
            mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=TwoWayTransformer(
                depth=_count(state, decoder),
                embedding_dim=channels,
                num_heads=_DECODER_HEADS,
                mlp_dim=state[f"{decoder}.0.mlp.lin1.weight"].shape[0],
            ),
            transformer_dim=channels,
            iou_head_depth=_count(state, "mask_decoder.iou_prediction_head.layers"),
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
    )


def _count(state: Mapping[str, "Tensor"], prefix: str) -> int:
    """How many numbered modules there are under a name."""
    return len({name[len(prefix) + 1 :].split(".")[0] for name in state if name.startswith(f"{prefix}.")})
