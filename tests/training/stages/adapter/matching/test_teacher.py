"""What the teacher is told, when it takes part, and what cannot be one."""

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from swiftpie.backbones.checkpoints.safe import flatten
from swiftpie.cli.main import app
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.schedules import PredictionType
from swiftpie.training.loop import LoopConfig, fit
from swiftpie.training.stages.adapter import ADAPTER_FILE
from swiftpie.training.stages.adapter_settings import AdapterDrops, LossWeights
from swiftpie.training.stages.adapter_student import draw_chances, run_student
from swiftpie.training.state import read_state
from tests.backbones.tiny_models import ADAPTERS, make_own_adapter, make_unet
from tests.parity.ip_adapter import WIDTHS, adapter_tensors, projector_shapes, tiny_unet

EVERY_TERM = LossWeights(latents=0.1, matching=1.0)


@torch.no_grad()
def told_with(stage, drops):
    examples = stage.example_source.batch(2, 5)
    chances = draw_chances(2, drops, seed=5)
    outcome = run_student(stage.base, stage.network(), examples, chances)
    return outcome, stage.teacher.conditions(stage.base, examples, outcome)


def test_the_teacher_is_told_what_the_student_is(build_matching):
    stage = build_matching(teacher={"strength": 0.5})
    never = AdapterDrops(semantic=0, detail=0, both=0, text=0, rescaled=0)
    for drops, scale in (
        (never, 0.5),
        (AdapterDrops(semantic=1, detail=0, both=0, text=0, rescaled=0), 0.5),
        (AdapterDrops(semantic=0, detail=1, both=0, text=0, rescaled=0), 0.5),
        (AdapterDrops(semantic=0, detail=0, both=1, text=1, rescaled=0), 0.0),
    ):
        outcome, told = told_with(stage, drops)
        assert told.attention.identity_scale.tolist() == [[scale], [scale]]
        assert torch.equal(told.attention.mask, outcome.attention.mask)
        assert told.text is outcome.text
        empty = stage.base.components.text.encode([""]).repeat(2)
        assert torch.equal(told.text.hidden_states, empty.hidden_states) == bool(drops.text)


def test_guidance_is_away_from_no_prompt_and_no_subject(build_matching):
    stage = build_matching()
    _, told = told_with(stage, AdapterDrops())
    nothing = stage.teacher.without_conditions(stage.base, told)
    assert not nothing.attention.identity_scale.any()
    empty = stage.base.components.text.encode(["", ""])
    assert torch.equal(nothing.text.hidden_states, empty.hidden_states)


def test_a_teacher_with_both_branches_reads_references_itself(build_matching, tmp_path):
    adapter = make_own_adapter(tmp_path / "own.safetensors", "sd21")
    stage = build_matching(teacher={"adapter": adapter})
    _, told = told_with(stage, AdapterDrops(semantic=0, detail=0, both=0))
    assert told.attention.keys.keys() == stage.teacher.denoiser.installation.detail_layers.keys()
    assert len(told.attention.keys) > 0
    update = list(stage.updates(stage.network(), 1, 5))[-1]
    assert torch.isfinite(update.terms["critic"])


def test_the_fake_score_learns_at_every_step_and_the_others_at_some(build_matching):
    stage = build_matching(teacher={"student_every": 2}, loss=EVERY_TERM)
    network = stage.network()
    asked = [[one.group for one in stage.updates(network, step, step)] for step in range(3)]
    everyone = ["adapter", "discriminator", "critic"]
    assert asked == [everyone, ["critic"], everyone]
    assert list(stage.groups) == everyone


def test_without_a_weight_there_is_no_teacher(build_matching):
    stage = build_matching(loss=LossWeights())
    assert stage.teacher is None
    assert list(stage.groups) == ["adapter", "discriminator"]
    assert not any(name.startswith("critic") for name in stage.network().state_dict())


def test_all_terms_together_go_on_bit_for_bit(build_matching, place, tmp_path):
    loop = LoopConfig(steps=2, learning_rate=1e-3, save_every=1, log_every=1, uses_muon=False)

    def stage():
        return build_matching(
            teacher={"student_every": 2},
            loss=EVERY_TERM,
            batch_size=1,
            prompt_model=place / "clip",
            prompt_threshold=1.0,
            prompt_steps=3,
        )

    events = list(fit(stage(), loop, tmp_path / "whole"))
    wanted = {"latents", "maps", "subject", "whole", "identity", "adversarial", "hinge", "r1"}
    assert wanted | {"matching", "prompt", "critic"} <= events[0].losses.keys()
    list(fit(stage(), loop, tmp_path / "parts", time_limit_s=0.0))
    list(fit(stage(), loop, tmp_path / "parts"))
    whole, parts = (read_state(tmp_path / name).tensors for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    # Of teacher and base nothing is kept, but for two small factors a layer.
    critic = [name for name in whole if name.startswith("network/network/critic")]
    assert critic
    assert all("lora_A" in name or "lora_B" in name for name in critic)


def test_what_cannot_be_a_teacher_is_refused(build_matching, tmp_path):
    for part in ("unet", "adapter"):
        with pytest.raises(ConfigError, match=rf"stage\.teacher\.{part} is not set"):
            build_matching(teacher={part: None})
    with pytest.raises(ConfigError, match="predicts is flow"):
        build_matching(teacher={"predicts": PredictionType.FLOW})
    with pytest.raises(ConfigError, match="student_every is 0"):
        build_matching(teacher={"student_every": 0})
    with pytest.raises(WeightsError, match="cross_attention_dim 24, and the student has 32"):
        build_matching(teacher={"unet": make_unet(tmp_path / "sd15", "sd15")})
    tensors = adapter_tensors(ADAPTERS["sd21"], tiny_unet("sd21"))
    shapes = projector_shapes("face", WIDTHS["sd21"])
    tensors["image_proj"] = {name: torch.ones(shape) for name, shape in shapes.items()}
    save_file(flatten(tensors), tmp_path / "face.safetensors")
    with pytest.raises(CapabilityError, match="face vectors"):
        build_matching(teacher={"adapter": tmp_path / "face.safetensors"})


def test_one_command_matches_a_teacher(place, tmp_path):
    settings = {
        "stage.preset": "sd-turbo",
        "stage.data": place / "photos",
        "stage.weights": place / "pipeline",
        "stage.image_encoder": place / "encoder",
        "stage.teacher.unet": place / "teacher",
        "stage.teacher.adapter": place / "teacher.safetensors",
        "stage.teacher.student_every": 2,
        "stage.prompt_model": place / "clip",
        "stage.size_px": 64,
        "stage.batch_size": 1,
        "stage.checkpointing": "off",
        "loop.steps": 3,
        "loop.log_every": 1,
    }
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = ["train", "adapter-matching", *sets, "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    told = [line for line in result.output.splitlines() if line.startswith("step ")]
    assert ["matching" in line for line in told] == [True, False, True]
    assert all("critic" in line for line in told)
    assert (tmp_path / "adapter_matching" / "export" / ADAPTER_FILE).is_file()
    result = CliRunner().invoke(app, [*command, "--set", "stage.teacher.adapter=none"])
    assert result.exit_code != 0
    assert "stage.teacher.adapter is not set" in " ".join(result.output.split())
