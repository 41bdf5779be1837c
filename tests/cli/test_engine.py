import json

from swiftpie.engine.transforms import TRANSFORMS

PROMPT = "a hamster on a beach"


def test_every_transform_is_listed(call):
    listed = json.loads(call("engine", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(TRANSFORMS.names())
    assert all(entry["summary"] for entry in listed)
    assert "folded-upsampling" in call("engine").stdout


def test_a_picture_is_drawn_by_the_transforms_that_are_named(call, hamster, tmp_path):
    out = tmp_path / "out.png"
    arguments = ("personalize", hamster, PROMPT, "-o", out, "--size", "128x128")
    assert call(*arguments, "--engine", "folded-upsampling").exit_code == 0
    refused = call(*arguments, "--force", "--engine", "folded-upsampling, offload")
    assert refused.exit_code == 1
    assert "CPU" in refused.output


def test_another_runtime_is_refused_and_nothing_is_written(call, tmp_path):
    (tmp_path / "runtime.tgz").write_text("no archive")
    result = call("export", "page", "-o", tmp_path / "site", "--runtime", tmp_path / "runtime.tgz")
    assert result.exit_code != 0
    assert "npm pack onnxruntime-web@" in result.output
    assert not (tmp_path / "site").exists()
