"""What draws the golden pictures: the embedded model, and small random networks of each family."""

import atexit
import functools
import json
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import swiftpie
from swiftpie import Session
from swiftpie.backbones import adapters as adapter_file
from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from tests.parity import flux2
from tests.tiny import klein
from tests.tiny.adapters import face_adapter, make_own_adapter
from tests.tiny.folders import make_motion, make_pipeline, make_unet
from tests.tiny.sessions import preset_of

SIDE_PX = 128
UNET_FILE = "diffusion_pytorch_model.safetensors"
TIMESTEPS = {1: (999,), 2: (999, 499), 4: (999, 749, 499, 249)}
CONTRAST = 1.5  # of queries: random ones attend to everything alike, much more ends in chaos
SPREAD = 0.1  # of norms around 1 and of biases around 0


@functools.cache
def mini(steps=1, size_px=SIDE_PX, *, device="cpu"):
    return swiftpie.load("mini", steps=steps, size_px=size_px, device=device)


@functools.cache
def random_networks(family, *, steps=1, face="", device="cpu", **others):
    """A session with random networks, and our own adapter or the one of faces called `face`.

    `others` say which U-Nets there are besides: one that `inverts`, one that `reads` references.
    """
    components = random_components(family, face=face, device=device, **others)
    preset = replace(components.preset, timesteps=TIMESTEPS[steps])
    return Session(replace(components, preset=preset, schedule=schedule_of(preset)))


@functools.cache
def random_components(family, *, face, device, **others):
    folder, choices = pipeline_folder(family), {}
    with tempfile.TemporaryDirectory() as root, torch.random.fork_rng():
        place = Path(root)
        own = place / "adapter.safetensors"
        for role, name in (("inverts", "inversion"), ("reads", "reference")):
            if others.get(role):
                choices[name] = make_unet(place / name, family)
        if "inversion" in choices:
            refill(choices["inversion"] / UNET_FILE)
        return load_components(
            preset_of(family, image_size_px=SIDE_PX),
            device=device,
            weights=folder / "pipeline",
            adapter=face_adapter(place, face) if face else own_adapter(own, family),
            image_encoder=folder / "encoder",
            **choices,
        )


@functools.cache
def moving_networks(*, device="cpu"):
    """A session with random motion modules that animates in two steps, and our own adapter."""
    folder = pipeline_folder("sd15")
    with tempfile.TemporaryDirectory() as root, torch.random.fork_rng():
        place = Path(root)
        motion = make_motion(place / "motion") / UNET_FILE
        preset = replace(PRESETS.get("motion-lightning-2"), image_size_px=SIDE_PX)
        return Session(
            load_components(
                preset,
                device=device,
                weights=refill(motion),
                base=folder / "pipeline",
                adapter=own_adapter(place / "adapter.safetensors", "sd15"),
                image_encoder=folder / "encoder",
            )
        )


@functools.cache
def reading_networks(*, device="cpu"):
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        klein.make_pipeline(place := Path(folder) / "pipeline")
        for path in place.rglob("*.safetensors"):
            refill(path)
        preset = replace(flux2.PRESET, image_size_px=SIDE_PX)
        return Session(load_components(preset, device=device, weights=place))


@functools.cache
def pipeline_folder(family):
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    with torch.random.fork_rng():
        make_pipeline(Path(folder.name) / "pipeline", family)
    for path in Path(folder.name).rglob("*.safetensors"):
        refill(path)
    return Path(folder.name)


def own_adapter(path, family):
    return refill(make_own_adapter(path, family))


def refill(path):
    """Replace the weights in the file by numbers that depend on their names and shapes alone.

    How libraries initialise their layers changes from version to version.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: drawn(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    if adapter_file.KEY in metadata:
        header = json.loads(metadata[adapter_file.KEY])
        del header["sha256"]
        header["sha256"] = adapter_file._fingerprint(header, tensors)
        metadata[adapter_file.KEY] = json.dumps(header, sort_keys=True)
    save_file(tensors, path, metadata=metadata)
    return path


def drawn(name, weight):
    """Random numbers in place of `weight`; what counts, gates and sharpens stays."""
    if not weight.is_floating_point() or name.endswith(("gate", "log_sharpness", "pos_embed.pe")):
        return weight
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = torch.randn(weight.shape, generator=generator)
    if name.endswith("running_var"):
        return (SPREAD * noise).exp()
    if weight.ndim <= 1:
        return SPREAD * noise + float(name.endswith("weight"))
    contrast = CONTRAST if "to_q." in name else 1.0
    return contrast * noise * weight[0].numel() ** -0.5
