import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from swiftpie import InputError, WeightsError
from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan, install
from swiftpie.attention.processors import Merge
from swiftpie.backbones.adapters import _fingerprint, load_adapter, save_adapter, settings_in
from swiftpie.backbones.load.ip_adapter import load_into, read_ip_adapter
from swiftpie.backbones.load.safe import check_safetensors, flatten
from tests.parity.ip_adapter import (
    BOUND,
    difference,
    features_for,
    our_output,
    their_output,
    theirs,
)
from tests.tiny.adapters import FILES, adapter_tensors
from tests.tiny.networks import WIDTHS, same, tiny_unet

PLAN = BranchPlan(
    token_width=WIDTHS["sd15"],
    semantic=frozenset({Block.UP, Block.MIDDLE}),
    detail=frozenset({Block.UP}),
)
DEFAULTS = {"identity": 0.8, "detail": 1.0}


def installed(backbone="sd15", plan=PLAN):
    torch.manual_seed(8)
    return install(tiny_unet(backbone, is_shallow=False), plan)


def state(installation):
    modules = {**installation.semantic, **installation.detail}
    return {f"{n}.{k}": t.clone() for n, m in modules.items() for k, t in m.state_dict().items()}


def save(path, *, name="ip-adapter_sd15", **changes):
    """Write a random adapter for `installed()`; return the installation and projector."""
    installation = installed()
    with torch.no_grad():
        for processor in installation.detail.values():
            for parameter in processor.parameters():
                parameter.copy_(torch.randn_like(parameter))
    adapter = read_ip_adapter(
        adapter_tensors(name, installation.network), face_version=FILES[name][2].get("version")
    )
    load_into(adapter, installation)
    settings = {"family": "sd15", "t_ref": 250, "defaults": DEFAULTS} | changes
    save_adapter(path, installation=installation, projector=adapter.projector.module, **settings)
    return installation, adapter.projector


def rewrite(path, *, tensors=None, resign=False, **header):
    with safe_open(path, framework="pt") as stored:
        settings = json.loads(stored.metadata()["swiftpie"]) | header
    tensors = tensors or load_file(path)
    if resign:
        settings.pop("sha256")
        settings["sha256"] = _fingerprint(settings, tensors)
    save_file(tensors, path, metadata={"swiftpie": json.dumps(settings)})


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An adapter file that is not to be changed, with what was saved in it."""
    path = tmp_path_factory.mktemp("adapters") / "mine.safetensors"
    return path, *save(path)


@pytest.fixture
def path(stored, tmp_path):
    return Path(shutil.copy(stored[0], tmp_path))


@functools.cache
def target(backbone="sd15"):
    plan = PLAN if backbone == "sd15" else BranchPlan(token_width=WIDTHS[backbone])
    return install(tiny_unet(backbone, is_shallow=backbone != "sd15"), plan)


def test_a_round_trip_restores_both_branches_and_all_settings(stored):
    path, original, projector = stored
    settings = settings_in(check_safetensors(path), path)
    fresh = installed(plan=settings.plan)
    assert not same(state(fresh), state(original))
    loaded = load_adapter(path, installation=fresh)
    assert same(state(fresh), state(original))
    assert settings.plan == PLAN
    assert (settings.family, settings.t_ref) == ("sd15", 250)
    assert settings.defaults == DEFAULTS
    features = features_for(projector)
    assert torch.equal(loaded.module(*features), projector.module(*features))


@torch.no_grad()
def test_diffusers_loads_the_semantic_half_and_gives_the_same(stored):
    path, _, projector = stored
    pipeline = theirs(tiny_unet("sd15", is_shallow=False), path.name, folder=str(path.parent))
    features = features_for(projector)
    everywhere = installed(plan=BranchPlan(token_width=WIDTHS["sd15"]))
    load_adapter(path, installation=everywhere)
    found = our_output(everywhere.network, projector.module(*features), scale=0.7)
    assert difference(found, their_output(pipeline, features, scale=0.7)) <= BOUND


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_of_a_face_plus_projector_is_kept(path, version):
    name = "ip-adapter-faceid-plus" + ("v2" if version == 2 else "") + "_sd15"
    save(path, name=name, force=True)
    assert load_adapter(path, installation=installed()).module.shortcut is (version == 2)


def test_layers_that_the_file_leaves_out_are_inactive(path):
    everywhere = installed(plan=BranchPlan(token_width=WIDTHS["sd15"], gate=1.0))
    load_adapter(path, installation=everywhere)
    silent = {n for n, p in everywhere.detail.items() if not p.gate.any()}
    assert silent == {n for n in everywhere.detail if not n.startswith("up_blocks")}


def test_the_same_adapter_gives_the_same_bytes_and_replaces_no_file(path, tmp_path):
    save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        save(path)


def refused(path, match, *, installation=None):
    found = installation or target()
    before = state(found)
    with pytest.raises(WeightsError, match=match):
        load_adapter(path, installation=found)
    assert same(before, state(found))


def test_another_network_is_refused(path):
    for backbone in ("sd21", "sdxl"):
        refused(path, "U-Net", installation=target(backbone))


def test_the_other_form_of_the_detail_branch_is_refused(path):
    joint = BranchPlan(token_width=WIDTHS["sd15"], merge=Merge.JOINT)
    refused(path, "Install the plan", installation=installed(plan=joint))


def test_every_changed_setting_or_tensor_is_noticed(path):
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith(".gate"))
    rewrite(path, tensors=tensors | {name: tensors[name] + 1e-6})
    refused(path, "checksum")
    rewrite(path, tensors=tensors, t_ref=251)
    refused(path, "checksum")
    rewrite(path, tensors=tensors, t_ref=250, added=1)
    refused(path, "checksum")


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"format": "swiftpie/2"}, "Update SwiftPie"),
        ({"face_version": 3}, "this version reads"),
        ({"face_version": []}, "damaged|this version reads"),
        ({"merge": "mixed"}, "damaged"),
        ({"sem_layers": ["mid_blocks"]}, "damaged"),
        ({"t_ref": None}, "damaged"),
        ({"t_ref": float("inf")}, "damaged"),
        ({"t_ref": 1000}, "damaged"),
        ({"t_ref": -1}, "damaged"),
        ({"token_width": float("inf")}, "damaged"),
        ({"token_width": 10**400}, "damaged"),
        ({"defaults": 3}, "damaged"),
        ({"defaults": {"identity_scale": float("nan")}}, "damaged"),
        ({"defaults": {"identity_scale": 10**400}}, "damaged"),
    ],
)
def test_damaged_or_newer_settings_are_refused(path, header, match):
    rewrite(path, **header)
    refused(path, match)


def test_missing_and_superfluous_tensors_are_refused_even_with_a_right_checksum(path):
    tensors = load_file(path)
    gate = next(name for name in tensors if name.endswith(".gate"))
    wrong = {
        "is missing": {name: tensor for name, tensor in tensors.items() if name != gate},
        "needs none": tensors | {gate + "s": torch.ones(1)},
        "needs .[0-9]": tensors | {gate: tensors[gate][:-1]},
        "does not belong": tensors | {"extra": torch.ones(1)},
        "Layer 1": {n: t for n, t in tensors.items() if n != "ip_adapter.1.to_k_ip.weight"},
    }
    for match, changed in wrong.items():
        rewrite(path, tensors=changed, resign=True)
        refused(path, match)
    rewrite(path, tensors=tensors, resign=True)
    load_adapter(path, installation=installed())


def test_a_public_adapter_is_not_taken_for_ours(path):
    installation = installed()
    save_file(flatten(adapter_tensors("ip-adapter_sd15", installation.network)), path)
    refused(path, "not an adapter that SwiftPie wrote")


def test_a_width_that_its_matrices_do_not_have_is_refused_before_it_is_installed(path):
    rewrite(path, token_width=WIDTHS["sd15"] + 1)
    with pytest.raises(WeightsError, match="damaged"):
        settings_in(check_safetensors(path), path)
