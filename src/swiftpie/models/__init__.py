"""Network roles: one file each, wrapping or configuring diffusers and transformers classes."""
