"""A Segment Anything small enough for tests, with random weights that draw masks all the same."""

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


def tiny_sam(seed=1):
    """A SAM of 64-pixel images: two blocks of width 32, the second of which attends globally."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Sam(
            ImageEncoderViT(
                img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2, out_chans=32, use_rel_pos=True,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), window_size=3, global_attn_indexes=(1,),
            ),
            PromptEncoder(32, (8, 8), (64, 64), 8),
            MaskDecoder(
                transformer_dim=32, transformer=TwoWayTransformer(2, 32, 8, 48), iou_head_depth=2, iou_head_hidden_dim=24,
            ),
        )  # fmt: skip
        for block in model.image_encoder.blocks:
            torch.nn.init.normal_(block.attn.rel_pos_h, std=0.1)
    with torch.no_grad():  # sure of itself, so that the generator keeps its masks
        last = model.mask_decoder.iou_prediction_head.layers[-1]
        last.weight.zero_()
        last.bias.fill_(1.0)
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.mul_(1e4)
    return model.eval()


def save_tiny_sam(path, seed=1):
    """Its checkpoint, as the published ones are: a plain dictionary of tensors."""
    torch.save(tiny_sam(seed).state_dict(), path)
    return path
