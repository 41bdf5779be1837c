import yaml

from swiftpie.cli.serve import TOKEN_VARIABLE
from swiftpie.server.jobs import Limits
from tests.policy.project import ROOT
from tests.policy.test_docs import parse


def test_a_pod_runs_the_command_answers_its_probes_and_ends_what_it_accepted(server):
    objects = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
    (template,) = [each["spec"]["template"] for each in objects if each["kind"] == "Deployment"]
    (container,) = template["spec"]["containers"]
    options, (http,) = parse(["swiftpie", *container["args"]]).params, container["ports"]
    assert (options["host"], options["port"]) == ("0.0.0.0", http["containerPort"])
    assert {variable["name"] for variable in container["env"]} >= {TOKEN_VARIABLE}
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container[name]["httpGet"]
        headers = {header["name"]: header["value"] for header in probe["httpHeaders"]}
        assert server.ask("GET", probe["path"], headers=headers).status == 200
        assert server.ask("GET", probe["path"], headers={"Host": "10.0.0.7:8000"}).status == 403
        assert probe["port"] == http["name"]
    _, waits_s = container["lifecycle"]["preStop"]["exec"]["command"]
    limits = Limits(**{n: options[n] for n in ("body_s", "deadline_s") if options.get(n)})
    ends_s = int(waits_s) + limits.body_s + limits.deadline_s
    assert template["spec"]["terminationGracePeriodSeconds"] >= ends_s
