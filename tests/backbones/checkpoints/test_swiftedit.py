"""SwiftEdit's released layouts, in small."""

import pytest
import torch
from safetensors.torch import save_file

from swiftpie import WeightsError
from swiftpie.attention.install import Plan, install
from swiftpie.backbones.checkpoints.ip_adapter import load_into, read_ip_adapter
from swiftpie.backbones.checkpoints.swiftedit import read_swiftedit
from swiftpie.backbones.weights import Reader, read_unet
from tests.parity.ip_adapter import (
    BOUND,
    WIDTHS,
    adapter_tensors,
    difference,
    features_for,
    our_output,
    their_output,
    theirs,
    tiny_unet,
    unet_inputs,
)

NAME = "swiftedit ip_adapter.bin"


@pytest.fixture
def released():
    """The same adapter twice: in the public layout, and as the module that SwiftEdit saved."""
    unet = tiny_unet("sd21")
    public = adapter_tensors(NAME, unet)
    saved = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()}
    paths = list(unet.attn_processors)
    for name, tensor in public["ip_adapter"].items():
        number, rest = name.split(".", 1)
        saved[f"unet.{paths[int(number)]}.{rest}"] = tensor
        saved[f"adapter_modules.{number}.{rest}"] = tensor
    for name, tensor in public["image_proj"].items():
        saved[f"image_proj_model.{name}"] = tensor
    return public, saved


@torch.no_grad()
def test_the_released_file_gives_what_diffusers_gives_for_the_public_layout(tmp_path, released):
    public, saved = released
    path = tmp_path / "ip_adapter.bin"
    torch.save(saved, path)
    with pytest.raises(WeightsError, match="allow_pickle=True"):
        read_swiftedit(path)
    adapter = read_swiftedit(path, allow_pickle=True)
    unet = tiny_unet("sd21")
    load_into(adapter, install(unet, Plan(token_width=WIDTHS["sd21"])))
    features = features_for(adapter.projector)
    expected = their_output(theirs(tiny_unet("sd21"), public), features, scale=1.0)
    tokens = adapter.projector.module(*features)
    assert difference(our_output(unet, tokens, scale=1.0), expected) <= BOUND


def test_layouts_are_not_mixed_up(released):
    public, saved = released
    with pytest.raises(WeightsError, match="read_swiftedit"):
        read_ip_adapter(saved)
    with pytest.raises(WeightsError, match="read_ip_adapter"):
        read_swiftedit(public)
    with pytest.raises(WeightsError, match="needs 'to_k_ip'"):
        read_swiftedit({n: t for n, t in saved.items() if n != "adapter_modules.5.to_v_ip.weight"})


@pytest.mark.parametrize("is_pickle", [True, False])
@torch.no_grad()
def test_a_network_is_read_from_its_folder(tmp_path, is_pickle):
    unet = tiny_unet("sd21")
    unet.save_pretrained(tmp_path, safe_serialization=not is_pickle)
    again = read_unet(tmp_path, Reader("cpu", torch.float32, allow_pickle=is_pickle))
    call, _ = unet_inputs(unet)
    assert torch.equal(again(**call).sample, unet(**call).sample)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_folder_without_one_complete_network_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"no config\.json"):
        read_unet(tmp_path, Reader("cpu", torch.float32, allow_pickle=False))
    unet = tiny_unet("sd21")
    unet.save_config(tmp_path)
    tensors = unet.state_dict()
    tensors.pop("conv_out.bias")
    with pytest.raises(WeightsError, match="no weights"):
        read_unet(tmp_path, Reader("cpu", torch.float32, allow_pickle=False))
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match=r"conv_out\.bias"):
        read_unet(tmp_path, Reader("cpu", torch.float32, allow_pickle=False))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError):
        read_unet(tmp_path, Reader("cpu", torch.float32, allow_pickle=False))
