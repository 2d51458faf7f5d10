"""Networks in flax.linen: U-Nets and text encoders (the only importer)."""
