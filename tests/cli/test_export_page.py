"""`swiftpie export page` refuses what it cannot use before it writes or fetches anything."""


def test_a_folder_that_exists_is_kept(call, tmp_path):
    (tmp_path / "site").mkdir()
    result = call("export", "page", "-o", tmp_path / "site")
    assert result.exit_code == 2
    assert "exists already" in result.output


def test_another_runtime_is_refused_and_nothing_is_written(call, tmp_path):
    (tmp_path / "runtime.tgz").write_text("no archive")
    result = call("export", "page", "-o", tmp_path / "site", "--runtime", tmp_path / "runtime.tgz")
    assert result.exit_code != 0
    assert "npm pack onnxruntime-web@" in result.output
    assert not (tmp_path / "site").exists()
