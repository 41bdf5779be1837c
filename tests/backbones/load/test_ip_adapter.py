"""Public adapters in our processors: equal to diffusers' own, and refused where they do not fit."""

import pytest
import torch
from safetensors.torch import save_file

from swiftpie import WeightsError
from swiftpie.attention.install import BranchPlan, install
from swiftpie.backbones.load.ip_adapter import (
    cross_attention,
    fuse_lora,
    fuse_lora_file,
    load_into,
    read_ip_adapter,
)
from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.safe import flatten, read_tensors
from swiftpie.backbones.load.weights import NetworkReader
from tests.parity.ip_adapter import compare, features_for, unet_inputs
from tests.quick import thorough_but
from tests.tiny.adapters import FILES, adapter_tensors, projector_tensors, released_tensors
from tests.tiny.networks import WIDTHS, tiny_unet

NAME = "ip-adapter_sd15"
KINDS = {  # a file of each projector, and of each family
    *("ip-adapter_sd15_vit-G", "ip-adapter-full-face_sd15"),
    *("ip-adapter-faceid-portrait_sd15", "ip-adapter-faceid-plusv2_sd15"),
    "swiftedit ip_adapter.bin",
}


@pytest.fixture
def unet():
    return tiny_unet("sd15", is_shallow=False)


@pytest.fixture(scope="module")
def whole():
    return adapter_tensors(NAME, tiny_unet("sd15", is_shallow=False))


@pytest.fixture
def tensors(whole):
    return {part: dict(tensors) for part, tensors in whole.items()}


@pytest.fixture
def adapter(tensors):
    return read_ip_adapter(tensors)


@pytest.fixture
def installation(unet):
    return install(unet, BranchPlan(token_width=WIDTHS["sd15"]))


def weights(installation):
    return [p.detach().clone() for m in installation.semantic.values() for p in m.parameters()]


def with_lora(tensors, unet, *, rank=3):
    """`tensors` with a random LoRA for every attention layer, as FaceID files have."""
    generator = torch.Generator().manual_seed(7)
    lora = {}
    for number, path in enumerate(unet.attn_processors):
        layer = unet.get_submodule(path.removesuffix(".processor"))
        linears = {"q": layer.to_q, "k": layer.to_k, "v": layer.to_v, "out": layer.to_out[0]}
        for name, linear in linears.items():
            down = torch.randn(rank, linear.in_features, generator=generator)
            up = torch.randn(linear.out_features, rank, generator=generator) / 10
            lora[f"{number}.to_{name}_lora.down.weight"] = down / 10
            lora[f"{number}.to_{name}_lora.up.weight"] = up
    return tensors | {"ip_adapter": tensors["ip_adapter"] | lora}


@pytest.mark.parametrize("name", thorough_but(FILES, KINDS))
@torch.no_grad()
def test_every_public_file_gives_what_diffusers_gives(name):
    check(name, is_shallow=True)


# Layers are numbered alike in all files; of one without a LoRA and one with it all are compared.
@pytest.mark.thorough
@pytest.mark.parametrize("name", ["ip-adapter_sd15", "ip-adapter-faceid_sdxl"])
@torch.no_grad()
def test_it_does_so_in_as_many_layers_as_a_model_has(name):
    check(name, is_shallow=False)


def check(name, *, is_shallow):
    rows = compare(name, is_shallow=is_shallow)
    assert len(rows) == 3
    assert [row for row in rows if not row[1] <= row[2]] == []


def test_released_numbers_follow_the_order_of_the_layers():
    whole = tiny_unet("sdxl", is_shallow=False)
    paths = cross_attention(install(whole, BranchPlan(token_width=WIDTHS["sdxl"])))
    assert list(paths) == list(range(1, 140, 2))
    assert paths[1].startswith("down_blocks.1.attentions.0.")
    assert paths[139].startswith("mid_block.")
    assert paths[139 - 20].startswith("up_blocks.1.")


def test_layers_of_a_pruned_network_are_refused_and_nothing_changes(adapter):
    pruned = tiny_unet("plain", cross_attention_dim=WIDTHS["sd15"])
    installation = install(pruned, BranchPlan(token_width=WIDTHS["sd15"]))
    before = weights(installation)
    with pytest.raises(WeightsError, match="16 layers, and the U-Net 7"):
        load_into(adapter, installation)
    assert all(torch.equal(*both) for both in zip(before, weights(installation), strict=True))


def test_a_layer_of_another_width_is_named_and_nothing_changes(tensors, installation):
    before = weights(installation)
    tensors["ip_adapter"] |= {f"31.to_{part}_ip.weight": torch.ones(48, 24) for part in "kv"}
    with pytest.raises(WeightsError, match=r"Layer 31 .*\(48, 24\).*mid_block.*\(32, 24\)"):
        load_into(read_ip_adapter(tensors), installation)
    assert all(torch.equal(*both) for both in zip(before, weights(installation), strict=True))


def test_an_adapter_for_another_family_is_refused(adapter):
    for backbone in ("sd21", "sdxl"):
        installation = install(tiny_unet(backbone), BranchPlan(token_width=WIDTHS[backbone]))
        with pytest.raises(WeightsError, match="an adapter trained for it"):
            load_into(adapter, installation)


def test_lora_for_another_network_is_refused_and_nothing_changes(unet, tensors):
    adapter = read_ip_adapter(with_lora(tensors, unet))
    other = tiny_unet("sdxl")
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(WeightsError, match="LoRA"):
        fuse_lora(adapter, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_a_lora_with_magnitudes_is_refused_and_not_taken_without_them(unet, tmp_path):
    rows = {"a.lora_down.weight": torch.ones(2, 4), "a.dora_scale": torch.ones(4, 1)}
    save_file(rows, tmp_path / "dora.safetensors")
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with pytest.raises(WeightsError, match="is a DoRA"):
        fuse_lora_file(
            unet,
            tmp_path / "dora.safetensors",
            family="sd15",
            loader="StableDiffusionLoraLoaderMixin",
        )
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())


SWIFTEDIT = "swiftedit ip_adapter.bin"


@pytest.fixture
def released():
    """The same adapter twice: in the public layout, and as the module that SwiftEdit saved."""
    unet = tiny_unet("sd21")
    return adapter_tensors(SWIFTEDIT, unet), released_tensors(unet)


@torch.no_grad()
def test_the_released_file_is_the_same_adapter_as_in_the_public_layout(tmp_path, released):
    public, saved = released
    path = tmp_path / "ip_adapter.bin"
    torch.save(saved, path)
    with pytest.raises(WeightsError, match="allow_pickle=True"):
        read_tensors(path)
    adapter = read_ip_adapter(read_tensors(path, allow_pickle=True))
    expected = read_ip_adapter(public)
    assert adapter.layers.keys() == expected.layers.keys()
    for number, pair in expected.layers.items():
        assert all(map(torch.equal, pair, adapter.layers[number]))
    features = features_for(adapter.projector)
    modules = [found.projector.module for found in (adapter, expected)]
    assert torch.equal(*(module(*features) for module in modules))


def without(tensors, name):
    return {other: tensor for other, tensor in tensors.items() if other != name}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda flat: without(flat, "ip_adapter.1.to_k_ip.weight"), "Layer 1"),
        (lambda flat: without(flat, "ip_adapter.31.to_v_ip.weight"), "Layer 31"),
        (lambda flat: flat | {"ip_adapter.1.to_q_ip.weight": torch.ones(2, 2)}, "to_q_ip"),
        (lambda flat: flat | {"ip_adapter.-1.to_k_ip.weight": torch.ones(2, 2)}, "-1"),
        (lambda flat: flat | {"ip_adapter.1.to_k_ip.weight": torch.ones(16)}, "matrix"),
        (lambda flat: flat | {"ip_adapter.1.to_k_ip.weight": torch.ones(16, 24).long()}, "matrix"),
        (lambda flat: flat | {"unet.conv_in.weight": torch.ones(2, 2)}, "unet.conv_in"),
        (lambda flat: flat | flatten({"image_proj": projector_tensors("ip-adapter_sdxl")}), "two"),
        (lambda flat: {n: t for n, t in flat.items() if "ip_adapter" not in n}, "to_k_ip"),
        (lambda flat: flat | {"ip_adapter.4.to_out_lora.down.weight": torch.ones(2, 2)}, "LoRA"),
    ],
)
def test_what_is_no_adapter_is_refused(whole, change, word):
    flat = flatten(whole)
    read_ip_adapter(flat)
    with pytest.raises(WeightsError, match=word):
        read_ip_adapter(change(flat))


@pytest.mark.parametrize("is_pickle", [True, False])
@torch.no_grad()
def test_a_network_is_read_from_its_folder(tmp_path, is_pickle):
    unet = tiny_unet("sd21")
    unet.save_pretrained(tmp_path, safe_serialization=not is_pickle)
    again = read_unet(tmp_path, NetworkReader("cpu", torch.float32, allow_pickle=is_pickle))
    call, _ = unet_inputs(unet)
    assert torch.equal(again(**call).sample, unet(**call).sample)
    assert not any(parameter.requires_grad for parameter in again.parameters())
