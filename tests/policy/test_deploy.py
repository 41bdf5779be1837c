"""Manifests are what Kubernetes and KubeRay publish as schemas, without a field that none knows."""

import copy
import json
import shutil

import pytest

from tests.policy.project import ROOT
from tests.processes import printed

yaml = pytest.importorskip("yaml", reason="needs PyYAML")
jsonschema = pytest.importorskip("jsonschema", reason="needs `pip install kubernetes-validate`")
validate = pytest.importorskip(
    "kubernetes_validate", reason="needs `pip install kubernetes-validate`"
)
MANIFESTS = sorted((ROOT / "deploy").glob("*.yaml"))
CLUSTER = json.loads((ROOT / "tests" / "fixtures" / "raycluster.json").read_text())["schema"]
VERSIONS = ("1.30", "1.35")  # of Kubernetes
PARTS = [
    pytest.param(part, id=f"{path.stem} {part['kind']}")
    for path in MANIFESTS
    for part in yaml.safe_load_all(path.read_text())
]


def check(part):
    """Raise where a part is no object of its kind; the pods of a cluster are checked as pods."""
    if part["kind"] != "RayCluster":
        for version in VERSIONS:
            validate.validate(part, version, strict=True)
        return
    jsonschema.validate(part, CLUSTER)
    spec = part["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        check({"apiVersion": "v1", "kind": "Pod", **group["template"]})


@pytest.mark.parametrize("part", PARTS)
def test_each_object_is_valid_and_another_field_is_not(part):
    check(part)
    for spec in specs_in(copied := copy.deepcopy(part)):
        spec["replicaz"] = 1
        with pytest.raises((jsonschema.ValidationError, validate.ValidationError)):
            check(copied)
        del spec["replicaz"]


def specs_in(part):
    """Return every `spec` of an object, pods' among them."""
    below = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    own = [part["spec"]] if isinstance(part, dict) and "spec" in part else []
    return own + [spec for inner in below for spec in specs_in(inner)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_takes_them_in_a_dry_run(path):
    # As `create --dry-run=client`, which asks a cluster for its schemas, but for the cluster.
    dry = ("kubectl", "label", "--local", "--dry-run=client", "-o", "name", "-f", str(path), "a=b")
    said = printed(*dry, timeout=60)
    assert len(said.split()) == len([*yaml.safe_load_all(path.read_text())])
