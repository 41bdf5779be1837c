"""Prompts of a warm-up: a subject with looks and a place, and the same without the looks."""

from typing import NamedTuple

import torch

# fmt: off
SUBJECTS = (
    "dog", "cat", "horse", "bear", "rabbit", "owl", "parrot", "turtle", "frog", "robot", "doll",
    "teddy", "vase", "teapot", "mug", "bowl", "lamp", "clock", "chair", "backpack", "handbag",
    "boot", "sneaker", "hat", "umbrella", "guitar", "violin", "camera", "car", "bicycle",
    "motorbike", "boat", "train", "cake", "pumpkin", "cactus", "sunflower", "candle", "lantern",
    "kettle",
)
# fmt: on
LOOKS = (
    "red",
    "blue",
    "green and white",
    "golden",
    "striped",
    "spotted",
    "wooden",
    "shiny metal",
    "old and worn",
    "knitted",
    "black",
    "pink",
    "transparent glass",
    "marble",
    "hand-painted",
    "checkered",
)
PLACES = (
    "on a beach",
    "in the snow",
    "in a forest",
    "on a wooden table",
    "in a kitchen",
    "on a street at night",
    "in a meadow",
    "in front of mountains",
    "on a sofa",
    "on a stone wall",
    "in a garden",
    "in a desert",
)


class Prompt(NamedTuple):
    """A pair of prompts about one subject."""

    rich: str  # with its looks
    poor: str  # without
    name: str  # the words for the subject, which both contain


def make_prompt(generator: torch.Generator) -> Prompt:
    """Draw a pair of prompts."""
    name, look, place = (
        words[int(torch.randint(len(words), (), generator=generator))]
        for words in (SUBJECTS, LOOKS, PLACES)
    )
    return Prompt(f"a photo of a {look} {name} {place}", f"a photo of a {name} {place}", name)
