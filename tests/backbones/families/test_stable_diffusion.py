import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file

from swiftpie import CapabilityError, InputError, WeightsError
from swiftpie.attention.condition import Block
from swiftpie.attention.processors import Merge
from swiftpie.backbones.components import FAMILIES, load_components
from swiftpie.backbones.load.weights import WHOLE_BYTES, fingerprint_files
from swiftpie.backbones.presets import WeightsKind, trailing_timesteps
from swiftpie.engine.session import Session
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import MaskSource, Scales
from swiftpie.types import IdentityBranch
from tests.parity import pipelines
from tests.quick import thorough_but
from tests.tiny.adapters import make_own_adapter
from tests.tiny.folders import make_model
from tests.tiny.sessions import SIDE_PX, preset_of, subject

ENOUGH = [("own", "sd15"), ("public", "sd21"), ("own", "sdxl")]  # each family, each adapter
PROMPT = "a red cube and a blue cone"
PAIRS = [ENOUGH[1], *(pytest.param(*row, marks=pytest.mark.thorough) for row in ENOUGH[::2])]


def drawn(session, subjects, **changes):
    recorder = pipelines.Recorder(session.components.autoencoder)
    seen = Session(replace(session.components, autoencoder=recorder))
    result = seen.personalize(subjects, PROMPT, **{"seed": 0, **changes})
    assert torch.isfinite(recorder.last.pixels).all()
    return result, recorder.last.pixels


@pytest.mark.parametrize(("adapter", "family"), PAIRS)
def test_every_family_draws_with_every_source_of_masks(opened, family, adapter):
    session = opened(family, adapter)
    identity = session.encode_identity([subject(), subject()])
    plain = drawn(session, identity, scales=Scales(identity_scale=0, detail_scale=0))[1]
    for source in MaskSource:
        result, pixels = drawn(session, identity, mask=source, box=(0.2, 0.2, 0.8, 0.9))
        assert result.images[0].size == (SIDE_PX, SIDE_PX)
        assert (pixels - plain).abs().max() > 1e-3, source
    mask = torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    inside = drawn(session, identity, mask=mask)[1]
    torch.testing.assert_close(inside, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", thorough_but(["sd21", "sdxl"], ["sdxl"]))
def test_every_family_draws_two_subjects_in_a_wide_picture(opened, family):
    session = opened(family)
    identity = session.encode_identity(subject())
    other = session.encode_identity(subject().rotate(180))
    both = [
        Subject(identity, box=(0.0, 0.2, 0.5, 1.0), name="cube"),
        Subject(other, box=(0.5, 0.2, 1.0, 1.0), name="cone"),
    ]
    size = (SIDE_PX, SIDE_PX + 48)
    for source in (MaskSource.BOX, MaskSource.INLINE):
        result, _ = drawn(session, both, mask=source, size=size[::-1])
        assert result.images[0].size == (size[1], size[0])
        assert result.regions.shape == (1, 2, size[0] // 8, size[1] // 8)


@pytest.mark.thorough
def test_a_style_picture_acts_beside_a_subject_of_another_picture(tmp_path):
    # Groups of layers are counted as in the whole network.
    choices = make_model(tmp_path, "sdxl", adapter="public", is_shallow=False)
    session = Session(load_components(preset_of("sdxl"), **choices))
    identity, style = session.encode_identity(subject()), subject().rotate(90).convert("RGB")
    plain = drawn(session, identity)[1]
    assert torch.equal(drawn(session, identity, style_reference=style, style_scale=0.0)[1], plain)
    styled = drawn(session, identity, style_reference=style)[1]
    assert (styled - plain).abs().max() > 1e-3
    blue = Image.new("RGB", style.size, "blue")
    assert (drawn(session, identity, style_reference=blue)[1] - styled).abs().max() > 1e-5
    with pytest.raises(CapabilityError, match="whose style stays"):
        drawn(session, identity, style_reference=style, scene="forest")


SHARED = {  # how subjects reach self-attention, which is shared with the style
    "sd15": {"adapter": None},
    "sd21": {"adapter": "own"},
    "sdxl": {"adapter": "public", "detail": "joint"},
}


@pytest.mark.parametrize("family", thorough_but(list(SHARED), ["sd21"]))
def test_every_u_net_draws_in_the_style_of_a_picture(opened, family):
    session = opened(family, **SHARED[family])
    shown = session.encode_identity(subject()) if session.components.knows_subjects else []
    plain = drawn(session, shown)[1]
    red, blue = (Image.new("RGB", (40, 60), name) for name in ("red", "blue"))
    assert torch.equal(drawn(session, shown, style_reference=red, style_scale=0.0)[1], plain)
    weak, styled = (
        drawn(session, shown, style_reference=red, style_scale=scale)[1] for scale in (1e-3, 1.0)
    )
    assert (styled - plain).abs().max() > 10 * (weak - plain).abs().max()
    assert (drawn(session, shown, style_reference=blue)[1] - styled).abs().max() > 1e-4
    both = drawn(session, shown, style_reference=red, num_images=2)[1]
    torch.testing.assert_close(both[:1], styled, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "renoise", thorough_but(["ddim", "lcm", "euler_ancestral", "tcd"], ["tcd"])
)
def test_few_steps_repeat_by_seed(opened, renoise):
    changes = {"timesteps": trailing_timesteps(3), "renoise": renoise, "eta": 0.3}
    session = opened("sd15", preset=preset_of("sd15", **changes))
    identity = session.encode_identity(subject())
    both = drawn(session, identity, seed=4, num_images=2)[1]
    alone = drawn(session, identity, seed=5)[1]
    assert (both[0] - both[1]).abs().max() > 1e-2
    torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["sd21", "sdxl"])
def test_pictures_equal_those_of_diffusers(family):
    for name, largest, bound in pipelines.rows([family], is_shallow=True):
        assert largest <= bound, name


def test_the_joint_form_joins_references_in_the_up_blocks_without_weights_of_its_own(opened):
    plain, joint = (opened("sd21", "public", detail=detail) for detail in (None, "joint"))
    networks = [session.components.denoiser for session in (plain, joint)]
    matrices = [sum(w.numel() for w in network.parameters() if w.ndim == 2) for network in networks]
    assert matrices[1] <= matrices[0]
    identity = joint.encode_identity(subject())
    assert identity.keys
    assert all(name.startswith("up_blocks") for name in identity.keys)
    pictures = {}
    for scale in (0.0, 0.5, 4.0):
        result, pictures[scale] = drawn(joint, identity, scales=Scales(detail_scale=scale))
        detail = (IdentityBranch.JOINT_DETAIL,) if scale else ()
        assert result.branches == (IdentityBranch.SEMANTIC, *detail)
    without = drawn(plain, plain.encode_identity(subject()), scales=Scales(detail_scale=4.0))
    assert without[0].branches == (IdentityBranch.SEMANTIC,)
    assert torch.equal(without[1], pictures[0.0])
    assert (pictures[0.5] - pictures[0.0]).abs().max() > 1e-2
    assert (pictures[4.0] - pictures[0.5]).abs().max() > 1e-2
    silent = drawn(joint, identity, scales=Scales(identity_scale=0.0))[0]
    assert silent.branches == (IdentityBranch.JOINT_DETAIL,)


def test_the_matched_form_takes_values_of_references_and_layout_of_the_prompt(opened):
    session = opened("sd21", "public", detail="matched")
    identity = session.encode_identity(subject())
    pictures = {}
    for scale in (0.0, 1.0, 4.0):
        result, pictures[scale] = drawn(session, identity, scales=Scales(detail_scale=scale))
        assert (IdentityBranch.MATCHED_DETAIL in result.branches) == (scale > 0)
    plain = opened("sd21", "public")
    without = drawn(plain, plain.encode_identity(subject()), scales=Scales(detail_scale=0.0))[1]
    assert torch.equal(pictures[0.0], without)
    assert (pictures[1.0] - without).abs().max() > 1e-2
    assert torch.equal(pictures[4.0], pictures[1.0])  # a value can be taken but once
    trained = opened("sd21", "own", detail="matched").components
    assert trained.denoiser.installation.plan.merge is Merge.DECOUPLED


def test_detail_has_a_mask_of_its_own_which_a_preset_may_find(opened):
    session = opened("sd21", "public", detail="joint")
    identity = session.encode_identity(subject())
    everywhere, off = (
        drawn(session, identity, scales=Scales(detail_scale=scale))[1] for scale in (1.0, 0.0)
    )
    nowhere = torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    masked = drawn(session, identity, detail_mask=nowhere)[1]
    torch.testing.assert_close(masked, off, atol=1e-5, rtol=0)  # the semantic branch is active
    found = drawn(session, identity, detail_mask=MaskSource.INLINE)[1]
    assert min((found - picture).abs().max() for picture in (everywhere, off)) > 1e-3
    preset = preset_of("sd21", detail_mask="inline")
    finds = opened("sd21", "public", detail="joint", preset=preset)
    assert torch.equal(drawn(finds, identity)[1], found)
    assert torch.equal(drawn(finds, identity, detail_mask=MaskSource.NONE)[1], everywhere)
    whole = torch.ones(1, 1, SIDE_PX, SIDE_PX)
    assert torch.equal(drawn(finds, identity, mask=whole)[1], everywhere)  # it is said where
    masked = [Subject(identity, detail_mask=whole)]
    with pytest.raises(InputError, match="detail_mask='inline' finds the regions"):
        drawn(session, masked, detail_mask=MaskSource.INLINE)


def test_a_trained_detail_branch_goes_before_the_joint_form_with_a_warning(opened, caplog):
    trained = opened("sd21", "own")
    assert "has no effect" not in caplog.text
    session = opened("sd21", "own", detail="joint")
    assert '`detail="joint"` has no effect' in caplog.text
    assert session.components.fingerprint == trained.components.fingerprint
    identity = session.encode_identity(subject())
    assert drawn(session, identity)[0].branches == (IdentityBranch.SEMANTIC, IdentityBranch.DETAIL)


def test_a_branch_trained_by_the_layers_own_projections_is_no_other_form_either(
    opened, tmp_path, caplog
):
    plan = {"merge": Merge.JOINT, "own_projections": False, "detail": frozenset({Block.UP})}
    path = tmp_path / "joint.safetensors"
    make_own_adapter(path, "sd21", **plan)
    opened("sd21", path.with_suffix(""), detail="joint")
    assert "has no effect" not in caplog.text  # it is what was trained
    session = opened("sd21", path.with_suffix(""), detail="matched")
    assert '`detail="matched"` has no effect' in caplog.text
    assert session.components.denoiser.installation.plan.merge is Merge.JOINT


def test_a_trained_detail_branch_can_be_left_out(opened):
    session = opened("sd21", "own", detail="none")
    identity = session.encode_identity(subject())
    assert not identity.keys
    assert session.components.preset.defaults["detail_scale"] == 0
    assert drawn(session, identity)[0].branches == (IdentityBranch.SEMANTIC,)


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["sd21", "sdxl"])
def test_bfloat16_gives_about_the_same_latents(opened, family):
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        session = opened(family, dtype=dtype)
        weights = session.components.denoiser.state_dict().values()
        assert {weight.dtype for weight in weights} == {dtype}
        pictures.append(drawn(session, session.encode_identity(subject()))[1])
    similarity = torch.cosine_similarity(pictures[0].flatten(), pictures[1].flatten(), dim=0)
    assert similarity > 0.98


def test_without_a_prompt_xl_reads_zeros_and_hides_nothing(session):
    text = session.components.text.encode(["a cat"])
    null = FAMILIES.get("sdxl").null_text(session.components.text)
    assert not null.hidden_states.any()
    assert not null.pooled.any()
    assert null.attention_mask.all()
    assert [condition.shape for condition in null] == [condition.shape for condition in text]


UNET_FILE = "diffusion_pytorch_model.safetensors"
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
SDXL_QUERY = QUERY.replace("blocks.0", "blocks.1", 1)


def unet_of(session):
    return session.components.denoiser.unet.state_dict()


def lora_of(family):
    return preset_of(family, kind=WeightsKind.LORA, file="x", base="swiftpie/nothing")


def unet_preset(family, **changes):
    return preset_of(family, kind=WeightsKind.UNET, file="x", base="swiftpie/nothing", **changes)


def test_an_adapter_of_ours_brings_plan_strengths_and_timestep(opened):
    components = opened("sd21").components
    assert components.preset.defaults == {"identity_scale": 0.8, "detail_scale": 0.6}
    assert components.denoiser.reference_step.timestep == 100
    layers = components.denoiser.installation.detail
    assert layers
    assert not any(name.startswith("down") for name in layers)
    assert all(float(layer.gate.min()) == 0.5 for layer in layers.values())


def test_the_half_precision_variant_is_read_for_half_precision(copied):
    whole = load_file(copied / "unet" / UNET_FILE)
    half = {name: tensor.half() * 2 for name, tensor in whole.items()}
    save_file(half, copied / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    name = next(iter(whole))
    for dtype, expected in ((torch.float32, whole[name]), (torch.bfloat16, 2 * whole[name])):
        loaded = load_components(preset_of("sd21"), weights=copied, dtype=dtype)
        found = loaded.denoiser.unet.state_dict()[name]
        torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.01)


def test_shards_are_joined_and_a_lost_one_is_named(models, opened, copied):
    shutil.rmtree(copied / "unet")
    whole = opened("sd21", None).components.denoiser.unet.state_dict()
    original = models / "sd21" / "pipeline" / "unet"
    UNet2DConditionModel.from_pretrained(original).save_pretrained(
        copied / "unet", max_shard_size="200KB"
    )
    assert not (copied / "unet" / UNET_FILE).exists()
    joined = load_components(preset_of("sd21"), weights=copied).denoiser.unet.state_dict()
    assert joined.keys() == whole.keys()
    assert all(torch.equal(joined[name], weight) for name, weight in whole.items())
    next((copied / "unet").glob("*-00002-of*")).unlink()
    with pytest.raises(WeightsError, match="all pieces of one"):
        load_components(preset_of("sd21"), weights=copied)


def test_a_unet_file_or_folder_replaces_that_of_the_base(models, opened):
    folder = models / "sd21"
    base = folder / "pipeline"
    expected = load_file(folder / "other_unet" / UNET_FILE)
    plain = unet_of(opened("sd21", None))
    for weights in (folder / "other_unet", folder / "other_unet" / UNET_FILE):
        found = unet_of(opened("sd21", preset=unet_preset("sd21"), weights=weights, base=base))
        assert torch.equal(found[f"{QUERY}.weight"], expected[f"{QUERY}.weight"])
        assert not torch.equal(found[f"{QUERY}.weight"], plain[f"{QUERY}.weight"])


@pytest.mark.parametrize("family", thorough_but(["sd15", "sdxl"], ["sdxl"]))
def test_a_lora_is_added_to_the_weights_of_the_base(models, opened, family):
    pytest.importorskip("peft", reason="needs swiftpie[lora]")
    file = models / family / "a.safetensors"
    base = models / family / "pipeline"
    query = SDXL_QUERY if family == "sdxl" else QUERY
    lora, key = load_file(file), f"lora_unet_{query.replace('.', '_')}"
    change = lora[f"{key}.lora_up.weight"] @ lora[f"{key}.lora_down.weight"]
    plain, session = (
        opened(family, None),
        opened(family, preset=lora_of(family), weights=file, base=base),
    )
    found, before = unet_of(session), unet_of(plain)
    assert not any("lora" in name for name in found)
    torch.testing.assert_close(found[f"{query}.weight"], before[f"{query}.weight"] + change)
    assert session.personalize(session.encode_identity(subject()), "a cube").images


def test_a_lora_of_another_network_is_refused(models):
    pytest.importorskip("peft", reason="needs swiftpie[lora]")
    base = models / "sd21" / "pipeline"
    for weights in (models / "sdxl" / "a.safetensors", base / "unet" / UNET_FILE):
        with pytest.raises(WeightsError, match="LoRA"):
            load_components(lora_of("sd21"), weights=weights, base=base)


def test_names_of_older_files_are_understood(copied):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = load_file(copied / "vae" / UNET_FILE)
    renamed = {}
    for name, tensor in vae.items():
        new = next((part for part in old if f".{part}." in name), None)
        renamed[name.replace(new, old[new]) if new else name] = tensor
    assert renamed.keys() != vae.keys()
    save_file(renamed, copied / "vae" / UNET_FILE)
    text = copied / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): t for name, t in load_file(text).items()}
    for prefix in ("", "text_model."):
        names = {f"{prefix}{name}": tensor for name, tensor in bare.items()}
        save_file(names | {f"{prefix}embeddings.position_ids": torch.arange(77)[None]}, text)
        loaded = load_components(preset_of("sd21"), weights=copied)
        assert loaded.text.encoder.embeddings.position_ids.tolist() == [list(range(77))]


def test_the_inversion_network_is_read_and_leaves_the_fingerprint_alone(models, opened):
    plain, inverting = opened("sd21"), opened("sd21", inversion=models / "sd21" / "other_unet")
    assert inverting.components.fingerprint == plain.components.fingerprint
    text = inverting.components.text.encode(["a cube"])
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert inverting.components.inverter()(latents, text).std() > 0


@pytest.mark.parametrize("family", ["sdxl"])
def test_a_picture_is_edited_with_an_inversion_network(models, opened, family):
    session = opened(family, inversion=models / family / "other_unet")
    photo = Image.new("RGB", (64, 64), "red")
    result = session.edit(photo, "a blue cone", mask=(0.25, 0.25, 0.75, 0.75))
    before, after = np.asarray(photo), np.asarray(result.image)
    is_inside = np.asarray(result.region) > 0
    assert is_inside.any()
    assert np.array_equal(before[~is_inside], after[~is_inside])
    assert not np.array_equal(before[is_inside], after[is_inside])


def test_a_pickle_is_read_only_where_that_is_allowed(copied, opened):
    file = copied / "unet" / UNET_FILE
    torch.save(load_file(file), copied / "unet" / "diffusion_pytorch_model.bin")
    file.unlink()
    loaded = load_components(preset_of("sd21"), weights=copied, allow_pickle=True)
    expected = unet_of(opened("sd21", None))
    assert torch.equal(
        loaded.denoiser.unet.state_dict()["conv_in.weight"], expected["conv_in.weight"]
    )


def test_fingerprints_tell_weights_adapters_and_types_apart(opened, copied):
    sessions = [
        opened("sd21"),
        opened("sd21", "public"),
        opened("sd21", dtype=torch.bfloat16),
        opened("sd21", None),
    ]
    file = copied / "unet" / UNET_FILE
    changed = load_file(file)
    changed["conv_in.weight"][0, 0, 0, 0] += 1e-3
    save_file(changed, file)
    sessions.append(opened("sd21", weights=copied))
    assert len({session.components.fingerprint for session in sessions}) == len(sessions)
    assert opened("sd21").components.fingerprint == sessions[0].components.fingerprint


def test_large_files_are_distinguished_by_samples(tmp_path):
    found = set()
    for name, place in (("a", None), ("b", 0), ("c", WHOLE_BYTES), ("same as c", WHOLE_BYTES)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(WHOLE_BYTES + 1)  # a hole, which takes no room on the disk
            if place is not None:
                file.seek(place)
                file.write(b"x")
        found.add(fingerprint_files({"unet": tmp_path / name}, settings=""))
    assert len(found) == 3
