"""Identity branches for published backbones, trained on photographs."""
