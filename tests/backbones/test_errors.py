"""What backbones refuse, a row each: a call, its error, and a word that the message has."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import swiftpie
from swiftpie import CapabilityError, ConfigError, InputError, WeightsError
from swiftpie.backbones.choices import with_steps
from swiftpie.backbones.components import load_components
from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.backbones.presets import PRESETS, RECIPES, WeightsKind
from swiftpie.engine.graphs.export import export_onnx
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import EditSettings
from tests.backbones.conftest import SDXS
from tests.parity.flux2 import PRESET as KLEIN
from tests.parity.flux2 import reference
from tests.tiny.folders import make_image_encoder
from tests.tiny.networks import EMBEDS
from tests.tiny.sessions import preset_of, subject

SD15, SD21, SDXL = map(preset_of, ("sd15", "sd21", "sdxl"))
PUBLIC, OWN = "sd21/public.safetensors", "sd21/own.safetensors"
TENSORS = "diffusion_pytorch_model.safetensors"
NOWHERE = "hub:swiftpie/there-is-no-such-repository"


PART = {"source": NOWHERE, "file": "x.safetensors", "base": "swiftpie/no"}
LORA, UNET = (preset_of("sd21", kind=k, **PART) for k in (WeightsKind.LORA, WeightsKind.UNET))
CHOICES = [  # of the folders of one family, or of all where a path says which
    (KLEIN, {"adapter": "a.safetensors"}, ConfigError, "adapter="),
    (KLEIN, {"detail": "adapter"}, ConfigError, "joint"),
    (SDXS, {"detail": "adapter"}, ConfigError, "adapter"),
    (KLEIN, {"steps": 2}, ConfigError, "steps"),
    (SD21, {"dtype": "float8"}, ConfigError, "float8"),
    (SD21, {"detail": "none"}, ConfigError, "adapter"),
    (SD21, {"base": "sd21/pipeline"}, ConfigError, "base="),
    (SD21, {"image_encoder": "sd21/encoder"}, ConfigError, "adapter="),
    (SD15, {"weights": "sdxs"}, WeightsError, "sdxs"),
    (SDXL, {"weights": "sd15/pipeline"}, WeightsError, "sd15"),
    (SD15, {"weights": "sd21/pipeline"}, WeightsError, "sd21"),
    (LORA, {"weights": "sd21/a.safetensors", "base": "sd15/pipeline"}, WeightsError, "sd21"),
    (UNET, {"weights": "sd21/a.safetensors", "base": "sdxl/pipeline"}, WeightsError, "sd21"),
    (SD21, {"adapter": "nowhere"}, WeightsError, "adapter="),
    (SD21, {"inversion": "nowhere"}, WeightsError, "inversion="),
    (SD21, {"adapter": "sd15/public.safetensors"}, WeightsError, "family"),
    (SD21, {"adapter": "sd15/own.safetensors"}, WeightsError, "sd15"),
    *(
        (SD21, {"adapter": PUBLIC, option: "sd21/a.safetensors"}, WeightsError, "takes a folder")
        for option in ("weights", "autoencoder", "inversion", "reference", "image_encoder")
    ),
    (SD21, {"weights": "an/owner:model.safetensors"}, WeightsError, "is one file"),
    (LORA, {"weights": "sd21/a.safetensors", "base": PUBLIC}, WeightsError, "`base=` takes a f"),
    (SD21, {"adapter": PUBLIC, "image_encoder": "no"}, WeightsError, "no"),
    (SD21, {"adapter": PUBLIC, "image_encoder": "sd21"}, WeightsError, "config.json"),
    (SD21, {"inversion": "sdxl/other_unet"}, WeightsError, "family"),
    (SD21, {"reference": "sd21/other_unet"}, ConfigError, "detail='joint'"),
    (SD21, {"adapter": PUBLIC, "reference": "sd21/other_unet"}, ConfigError, "detail branch"),
    (SD21, {"adapter": OWN, "reference": "nowhere"}, WeightsError, "reference="),
    (SD21, {"adapter": OWN, "reference": "sdxl/other_unet"}, WeightsError, "reference network"),
    (KLEIN, {"reference": "sd21/other_unet"}, ConfigError, "reference="),
]


@pytest.fixture(scope="module")
def folders(models, tiny, tmp_path_factory):
    root = shutil.copytree(models, tmp_path_factory.mktemp("damaged") / "folders")
    for preset in (KLEIN, SDXS):
        shutil.copytree(tiny(preset.family), root / preset.family)
    for file in root.glob("*/pipeline/*/*.safetensors"):
        file.write_bytes(b"damaged")
    return root


@pytest.mark.parametrize(("preset", "choices", "error", "word"), CHOICES)
def test_choices_that_do_not_fit_are_refused_before_weights_are_read(
    folders, monkeypatch, preset, choices, error, word
):
    monkeypatch.chdir(folders)
    whole = f"{preset.family}/pipeline" if preset.family in {"sd15", "sd21", "sdxl"} else None
    with pytest.raises(error, match=word):
        load_components(preset, **{"weights": whole or preset.family, **choices})


def without_a_tensor(file):
    tensors = load_file(file)
    del tensors[sorted(tensors)[3]]
    save_file(tensors, file)


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-100])


def write(text):
    return lambda file: file.write_text(text)


def settings(**changes):
    return lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def pickled(file):
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


DAMAGES = [
    *((SD21, name, shutil.rmtree, name) for name in ("unet", "vae", "text_encoder", "tokenizer")),
    *((SD21, f"{name}/*.safetensors", without_a_tensor, "fit") for name in ("unet", "vae")),
    (SD21, "text_encoder/*.safetensors", without_a_tensor, "fit"),
    (SD21, "vae/*.safetensors", cut_short, "cut"),
    (SD21, "unet/*.safetensors", pickled, "allow_pickle=True"),
    (KLEIN, "transformer/config.json", settings(joint_attention_dim=8), "width"),
    (KLEIN, "tokenizer/tokenizer.json", write("{"), "damaged"),
    (KLEIN, "tokenizer/chat_template.jinja", Path.unlink, "template"),
    (KLEIN, "transformer/config.json", settings(in_channels=64), "channels"),
    (
        *(KLEIN, "text_encoder/config.json"),
        *(settings(num_hidden_layers=27, layer_types=None), "27"),
    ),
]


@pytest.mark.parametrize(("preset", "name", "damage", "word"), DAMAGES)
def test_damaged_folders_are_refused(models, tiny, tmp_path, preset, name, damage, word):
    whole = models / "sd21" / "pipeline" if preset is SD21 else tiny(preset.family)
    copied = shutil.copytree(whole, tmp_path / "copied")
    damage(next(copied.glob(name)))
    with pytest.raises(WeightsError, match=word):
        load_components(preset, weights=copied)


@pytest.fixture(scope="module")
def sessions(tiny):
    presets = {preset.family: preset for preset in (KLEIN, SDXS)}
    loaded = {}

    def session(family, **choices):
        if choices or family not in loaded:
            made = Session(load_components(presets[family], weights=tiny(family), **choices))
            return made if choices else loaded.setdefault(family, made)
        return loaded[family]

    return session


def draw(session, *pictures, **changes):
    subjects = [session.encode_identity(list(group), cutout="none") for group in pictures]
    return session.personalize([Subject(identity) for identity in subjects], "a cat", **changes)


def by_inversion(session):
    return session.edit(reference(), "a cat", settings=EditSettings(method="inversion"))


ONE, BOX = (reference(),), (0.3, 0.3, 0.7, 0.9)
CALLS = [
    ("flux2", lambda s: draw(s, ONE, mask="inline"), CapabilityError, "box"),
    ("flux2", lambda s: draw(s, ONE, mask="two-pass"), CapabilityError, "box"),
    ("flux2", lambda s: s.edit(reference(), "a cat", keyword="dog"), InputError, "keyword"),
    ("flux2", by_inversion, CapabilityError, "inversion"),
    (
        *("flux2", lambda s: s.insert(reference(), s.encode_identity(subject()), box=BOX)),
        *(CapabilityError, "prompt"),
    ),
    (
        *("flux2", lambda s: transform(s.components, "token-downsampling")),
        *(CapabilityError, "attention"),
    ),
    ("flux2", lambda s: export_onnx(s.components, Path("x")), CapabilityError, "exported"),
    ("sdxs", lambda s: s.edit(ONE[0], "a dog", source_prompt="a cat"), CapabilityError, "edit"),
]


@pytest.mark.parametrize(("family", "call", "error", "word"), CALLS)
def test_what_a_family_cannot_do_is_refused(sessions, family, call, error, word):
    session = sessions(family)
    with pytest.raises(error, match=word):
        call(session)


@pytest.mark.parametrize("family", ["flux2", "sdxs"])
def test_without_its_branch_no_subject_is_read(sessions, family):
    blind = sessions(family, detail="none")
    with pytest.raises(CapabilityError, match="personalize"):
        blind.encode_identity(subject())


READER = NetworkReader("cpu", torch.float32, allow_pickle=False)
OTHERS = [
    (lambda _: swiftpie.load("mini", wieghts="x"), TypeError, "wieghts"),
    (lambda root: swiftpie.load("mini", adapter=root / OWN), ConfigError, "adapter"),
    (lambda _: swiftpie.load("swiftbrush-v2", offline=True), WeightsError, "weights="),
    (lambda _: swiftpie.load("mini", recipe="sd-turbo"), ConfigError, "recipe=sd-turbo"),
    (lambda _: swiftpie.load("mini", recipe=RECIPES.get("sd-turbo")), ConfigError, "recipe"),
    (lambda _: load_components(LORA, offline=True), WeightsError, "weights="),
    (lambda _: load_components(UNET, offline=True), WeightsError, "weights="),
    (lambda _: with_steps(PRESETS.get("mini"), 3), ConfigError, "1 or 2 or 4"),
    (lambda _: with_steps(PRESETS.get("sdxl-lightning-4"), 1), ConfigError, "4"),
    (lambda root: read_unet(root / "sd21", READER), WeightsError, "config.json"),
    (
        lambda root: load_components(
            SD21, weights=root / "sd21/pipeline", adapter=root / PUBLIC, offline=True
        ),
        *(WeightsError, "image_encoder="),
    ),
]


@pytest.mark.parametrize(("call", "error", "word"), OTHERS)
def test_what_cannot_be_loaded_is_refused(models, call, error, word):
    with pytest.raises(error, match=word):
        call(models)


def test_what_does_not_fit_an_adapter_is_refused(opened, tmp_path):
    other = make_image_encoder(tmp_path / "other", features=EMBEDS + 5)
    with pytest.raises(WeightsError, match="ViT-H"):
        opened("sd21", "public", image_encoder=other)
    with pytest.raises(ConfigError, match="joint"):
        opened("sd21", "public", detail="dual")
