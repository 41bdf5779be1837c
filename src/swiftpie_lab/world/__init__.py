"""The renderer of training pictures: places, light, looks, accessories and renditions."""
