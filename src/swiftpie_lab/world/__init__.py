"""The larger world: places, light, looks and renditions that pictures are asked for."""
