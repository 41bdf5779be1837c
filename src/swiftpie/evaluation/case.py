"""One item of a benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A subject, a scene and the seed that together determine one right picture."""

    name: str  # unique in its benchmark; also the stem of its files
    code: str  # the subject in its pack
    subject: str  # its name in words
    scene: str  # name in `swiftpie.data.scenes.SCENES`
    prompt: str
    seed: int
