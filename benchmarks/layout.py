"""One layout of a base U-Net, for ours and for diffusers' IF U-Net.

The same widths, blocks, attention grids and text on both sides: 64 px, text
attention fused with the picture's below the first level. Random weights. Each
function imports its own library alone, so that each side has its environment.
"""

RESOLUTION = 64
WIDTHS = (64, 128, 192, 256)
BLOCKS = 1  # residual blocks a level down; up has one more
HEAD_WIDTH = 64
TOKENS, TEXT_WIDTH = 32, 256
GROUPS = 32


def config(dtype='float32'):
  """Ours: a `unet.UNetConfig`."""
  from imagen_jax.models import unet

  return unet.UNetConfig(
    resolution=RESOLUTION,
    widths=WIDTHS,
    blocks=(BLOCKS,) * len(WIDTHS),
    attention=tuple(RESOLUTION >> i for i in range(1, len(WIDTHS))),
    head_width=HEAD_WIDTH,
    embedding_width=4 * WIDTHS[0],
    text_width=TEXT_WIDTH,
    text_projection=WIDTHS[1],
    groups=GROUPS,
    dtype=dtype,
  )


def diffusers_unet():
  """Theirs: a `UNet2DConditionModel` of the blocks that IF is made of."""
  import diffusers

  levels = len(WIDTHS)
  return diffusers.UNet2DConditionModel(
    sample_size=RESOLUTION,
    in_channels=3,
    out_channels=3,
    block_out_channels=WIDTHS,
    layers_per_block=BLOCKS,
    down_block_types=('ResnetDownsampleBlock2D',)
    + ('SimpleCrossAttnDownBlock2D',) * (levels - 1),
    mid_block_type='UNetMidBlock2DSimpleCrossAttn',
    up_block_types=('SimpleCrossAttnUpBlock2D',) * (levels - 1)
    + ('ResnetUpsampleBlock2D',),
    attention_head_dim=HEAD_WIDTH,
    cross_attention_dim=WIDTHS[1],
    encoder_hid_dim=TEXT_WIDTH,
    encoder_hid_dim_type='text_proj',
    addition_embed_type='text',
    addition_embed_type_num_heads=TEXT_WIDTH // HEAD_WIDTH,
    cross_attention_norm='group_norm',
    resnet_time_scale_shift='scale_shift',
    resnet_skip_time_act=True,
    norm_num_groups=GROUPS,
    act_fn='silu',
  )
