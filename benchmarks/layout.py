"""One layout of a base U-Net, for ours and for diffusers' IF U-Net.

DeepFloyd IF's base at any width: 64 px, four levels of 1, 2, 3 and 4 times the
width, FiLM, a pooled text, and below the first level attention fused with the
text's. Random weights. Each method imports its own library alone, so that each
side has its environment.
"""

import dataclasses

RESOLUTION = 64  # pixels
LEVELS = 4
HEAD_WIDTH = 64
GROUPS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """Sizes that both sides share."""

  width: int = 64  # channels of the first level
  blocks: int = 1  # residual blocks a level down; up has one more
  tokens: int = 32  # of a caption
  text_width: int = 256  # of the text encoder

  @property
  def widths(self):
    return tuple(self.width * (i + 1) for i in range(LEVELS))

  @property
  def projection(self):
    """Width of the noise level's embedding, and that texts are brought to."""
    return 4 * self.width

  def config(self):
    """Ours: a `unet.UNetConfig`."""
    from imagen_jax.models import unet

    return unet.UNetConfig(
      resolution=RESOLUTION,
      widths=self.widths,
      blocks=(self.blocks,) * LEVELS,
      attention=tuple(RESOLUTION >> i for i in range(1, LEVELS)),
      head_width=HEAD_WIDTH,
      embedding_width=self.projection,
      text_width=self.text_width,
      text_projection=self.projection,
      groups=GROUPS,
    )

  def diffusers_unet(self):
    """Theirs: a `UNet2DConditionModel` of the blocks that IF is made of."""
    import diffusers

    return diffusers.UNet2DConditionModel(
      sample_size=RESOLUTION,
      in_channels=3,
      out_channels=3,
      block_out_channels=self.widths,
      layers_per_block=self.blocks,
      down_block_types=('ResnetDownsampleBlock2D',)
      + ('SimpleCrossAttnDownBlock2D',) * (LEVELS - 1),
      mid_block_type='UNetMidBlock2DSimpleCrossAttn',
      up_block_types=('SimpleCrossAttnUpBlock2D',) * (LEVELS - 1)
      + ('ResnetUpsampleBlock2D',),
      attention_head_dim=HEAD_WIDTH,
      cross_attention_dim=self.projection,
      encoder_hid_dim=self.text_width,
      encoder_hid_dim_type='text_proj',
      addition_embed_type='text',
      addition_embed_type_num_heads=self.text_width // HEAD_WIDTH,
      cross_attention_norm='group_norm',
      resnet_time_scale_shift='scale_shift',
      resnet_skip_time_act=True,
      norm_num_groups=GROUPS,
      act_fn='silu',  # ours; IF's own is slower
    )
