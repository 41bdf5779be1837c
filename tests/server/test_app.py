import hashlib
import re
import shlex

import pytest
import yaml

from swiftpie.cli.serve import TOKEN_VARIABLE
from swiftpie.server import Limits
from tests.policy.project import ROOT
from tests.policy.test_docs import parse
from tests.server.conftest import serving


def test_every_answer_is_described(server):
    schema = server.ask("GET", "/openapi.json").json
    parts = schema["components"]["schemas"]
    for name in str(schema).split("#/components/schemas/")[1:]:
        assert name.split("'")[0] in parts
    for routes in schema["paths"].values():
        for route in routes.values():
            assert "422" not in route["responses"]
            assert "default" in route["responses"]


WEB = ROOT / "web"
STATIC = ROOT / "src" / "swiftpie" / "server" / "static"
SOURCES = ("index.html", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts")


def test_the_page_is_built_of_its_sources():
    files = [WEB / name for name in SOURCES]
    files += [path for part in ("public", "src") for path in (WEB / part).rglob("*")]
    named = {path.relative_to(WEB).as_posix(): path for path in files if path.is_file()}
    now = hashlib.sha256()
    for name in sorted(named):
        now.update(f"{name}\0".encode() + named[name].read_bytes())
    sources = re.search(r'name="sources" content="(\w+)"', (STATIC / "index.html").read_text())
    assert sources, "built before it told its sources: run `make page`"
    assert sources[1] == now.hexdigest(), "web/ has changed: run `make page`"


def test_the_page_names_its_files_by_relative_addresses():
    named = re.findall(r'(?:src|href)="([^"]+)"', (STATIC / "index.html").read_text())
    assert len(named) == 4
    assert all((STATIC.parent / address).is_file() for address in named), named


@pytest.mark.parametrize("root", ["", "/pie/one"])
def test_a_proxy_may_keep_the_prefix_or_take_it_away(session, root):
    with serving(session, root_path="/pie/one") as running:
        for path in ("/", "/static/page.js", "/health/live", "/v1/models", "/v1/models/"):
            assert running.ask("GET", root + path).status == 200, path
        page, described = running.ask("GET", f"{root}/"), running.ask("GET", f"{root}/openapi.json")
        worker = running.ask("GET", f"{root}/static/service-worker.js")
        bare = running.ask("GET", "/pie/one")
        others = [running.ask("GET", path).status for path in ("/pie", "/pie/ones", "/pie/onev1")]
    assert "; Path=/pie/one/;" in page.headers["set-cookie"]
    assert described.json["servers"] == [{"url": "/pie/one"}]
    assert worker.headers["service-worker-allowed"] == "../"
    assert (bare.status, bare.headers["location"]) == (307, "/pie/one/")
    assert others == [404, 404, 404]


def test_no_answer_leads_out_of_a_prefix_that_the_server_does_not_know(server):
    for path in ("/v1/models/", "/v1/library/", "/health/live/", "/static/page.js/"):
        answer = server.ask("GET", path)
        assert (answer.status, answer.headers["location"]) == (200, None), path


@pytest.mark.parametrize("name", ["kubernetes", "kuberay"])
def test_a_pod_runs_the_command_answers_its_probes_and_ends_what_it_accepted(name, server):
    objects = [*yaml.safe_load_all((ROOT / "deploy" / f"{name}.yaml").read_text())]
    kinds = {each["kind"]: each["spec"] for each in objects}
    owner = kinds["Deployment"] if "Deployment" in kinds else kinds["RayCluster"]["headGroupSpec"]
    template = owner["template"]
    (container,) = template["spec"]["containers"]
    words = container["args"]
    if "command" in container:  # Ray starts first
        words = shlex.split(words[0].partition("exec swiftpie")[2])
    options, http = parse(["swiftpie", *words]).params, container["ports"][0]
    assert kinds["Service"]["selector"].items() <= template["metadata"]["labels"].items()
    assert kinds["Service"]["ports"][0]["targetPort"] == http["name"]
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
