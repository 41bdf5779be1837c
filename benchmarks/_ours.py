"""SwiftPie at full size, with an identity from the cache, by any engine and autoencoder."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from diffusers import AutoencoderTiny

import swiftpie
from benchmarks._diffusers import read
from benchmarks._mini import EAGER, TOGETHER
from benchmarks._models import ADAPTER, PRESETS, REHEARSAL, TINY_DECODER
from benchmarks._scene import Scene, prompt
from benchmarks._timing import Round, timed
from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.engine.transform import transform
from swiftpie.engine.wrappers import joined
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.pipelines.request import EditSettings
from swiftpie.types import Identity


def load(scene: Scene) -> Components:
    """Return our networks, plain ones."""
    pipeline = scene.folder / "pipeline"
    session = swiftpie.load(
        PRESETS["sd21" if scene.family == REHEARSAL else scene.family],
        device=str(scene.device),
        dtype=scene.dtype,
        weights=pipeline,
        adapter=scene.folder / ADAPTER,
        image_encoder=scene.folder / "image_encoder",
        inversion=pipeline / "unet" if scene.can_edit else None,
        offline=True,
    )
    return session.components


FULL, TINY, BOTH_TINY = "full", "tiny", "tiny-both"  # decoders; the last one encodes too


def tiny_decoder(scene: Scene) -> Any:  # noqa: ANN401 - not annotated
    """Return a network of TAESD's shape."""
    return read(AutoencoderTiny, scene, TINY_DECODER, scene.dtype).to(scene.device).eval()


def autoencoders_of(components: Components, engine: str, scene: Scene) -> dict[str, Components]:
    """Return components of one engine with the full decoder and with the tiny one.

    Where pictures are edited, also with the tiny one as encoder. All share all other networks, so
    that these are compiled, and held, once.
    """
    tiny = LatentAutoencoder(tiny_decoder(scene))
    kinds = {FULL: components.autoencoder, TINY: joined(components.autoencoder, tiny)}
    if scene.can_edit:
        kinds[BOTH_TINY] = tiny
    made = {name: replace(components, autoencoder=one) for name, one in kinds.items()}
    if engine != EAGER:
        made = {name: transform(one, engine.split(TOGETHER)) for name, one in made.items()}
    full = made[FULL]
    return {name: replace(full, autoencoder=one.autoencoder) for name, one in made.items()}


@dataclass(frozen=True, eq=False)
class Ours:
    """What SwiftPie's users call; a new session each time, so that only the identity is known."""

    components: Components
    identity: Identity
    scene: Scene

    def personalize(self, number: int) -> Round:
        """Draw the subject once, with a prompt that was not encoded before."""
        session = Session(self.components)
        sample, _ = timed(
            lambda: session.personalize(
                self.identity,
                prompt(number),
                seed=number,
                num_images=self.scene.batch,
                size_px=(self.scene.side_px, self.scene.side_px),
            ),
            self.scene.device,
        )
        return {"personalize": sample}

    def edit(self, number: int) -> Round:
        """Edit a picture that was never seen, and the same once more with another prompt."""
        session, found = Session(self.components), {}
        picture = self.scene.picture(number)
        settings = EditSettings(size_px=self.scene.side_px)
        for ahead, operation in enumerate(("edit", "second_edit"), start=1):
            change = partial(
                session.edit,
                picture,
                prompt(number, ahead=ahead),
                source_prompt=prompt(number),
                settings=settings,
            )
            found[operation], _ = timed(change, self.scene.device)
        return found
