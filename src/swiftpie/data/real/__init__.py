"""Real photos of subjects for training: folders, tar shards, cut-outs and augmentations."""
