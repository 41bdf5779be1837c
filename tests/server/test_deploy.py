import pytest
import yaml

from swiftpie.cli.serve import TOKEN_VARIABLE
from swiftpie.server.jobs import Limits
from tests.policy.project import ROOT
from tests.policy.test_docs import parse

DEPLOY = ROOT / "deploy"


def objects_of(name):
    return {
        document["kind"]: document for document in yaml.safe_load_all((DEPLOY / name).read_text())
    }


@pytest.fixture(scope="module")
def kinds():
    return objects_of("kubernetes.yaml")


@pytest.fixture(scope="module")
def template(kinds):
    return kinds["Deployment"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(template):
    (only,) = template["spec"]["containers"]
    return only


@pytest.fixture(scope="module")
def words(container):
    return ["swiftpie", *container["args"]]


def test_the_command_is_one_that_the_server_understands(words, container):
    options = parse(words).params
    http = container["ports"][0]
    assert (options["host"], options["port"]) == ("0.0.0.0", http["containerPort"])
    assert {variable["name"] for variable in container["env"]} >= {TOKEN_VARIABLE}


def test_probes_are_answered_as_the_kubelet_asks(server, container):
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        options = container[name]["httpGet"]
        headers = {header["name"]: header["value"] for header in options["httpHeaders"]}
        assert server.ask("GET", options["path"], headers=headers).status == 200
        assert server.ask("GET", options["path"], headers={"Host": "10.0.0.7:8000"}).status == 403
        assert options["port"] == container["ports"][0]["name"]


def test_a_pod_may_end_what_it_accepted(template, container, words):
    _, waits_s = container["lifecycle"]["preStop"]["exec"]["command"]
    options = parse(words).params
    given = {name: options[name] for name in ("body_s", "deadline_s") if options.get(name)}
    limits = Limits(**given)
    ends_s = int(waits_s) + limits.body_s + limits.deadline_s
    assert template["spec"]["terminationGracePeriodSeconds"] >= ends_s
