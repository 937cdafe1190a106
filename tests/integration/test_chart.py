"""The Helm chart: linted, rendered with the example values, each object held against the schemas of Kubernetes."""

import json

import kubernetes_validate
import pytest
import yaml

from enginehouse.settings import load
from tests.integration.charts import CHART, ROOT, linted, refusal, rendered
from tests.integration.variables import is_setting

EXAMPLES = sorted((ROOT / "deploy/helm/examples").glob("*.yaml"))
OPERATORS = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of the Prometheus operator and of KEDA, which Kubernetes' schemas do not have."""
OLDEST, NEWEST = "1.27", "1.34"
API_KEY = {"API_KEY": {"name": "enginehouse", "key": "api-key"}}
SHARED = dict.fromkeys(("API_KEY", "DATABASE_URL", "REDIS_URL", "ENGINEHOUSE_AUTH__KEY_SECRET"), API_KEY["API_KEY"])


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture(scope="module")
def objects(example):
    return rendered(example)


@pytest.fixture(scope="module")
def replicas():
    return rendered(yaml.safe_load((ROOT / "deploy/helm/examples/replicas.yaml").read_text()))


def kinds(objects: list[dict]) -> list[str]:
    return sorted(each["kind"] for each in objects)


def one(objects: list[dict], kind: str) -> dict:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def pod(objects: list[dict], kind: str = "StatefulSet") -> dict:
    return one(objects, kind)["spec"]["template"]["spec"]


def test_there_are_three_examples():
    assert [path.stem for path in EXAMPLES] == ["gpu", "minimal", "replicas"]


def test_lint_finds_nothing(example):
    assert [each for each in linted(example) if each["severity"] > 1] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_object_is_one_that_kubernetes_knows(objects, version):
    for each in objects:
        if each["kind"] not in OPERATORS:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_mistake_in_an_object_is_noticed(objects):
    wrong = json.loads(json.dumps(one(objects, "StatefulSet")))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_every_variable_is_a_setting(objects):
    for kind in ("StatefulSet", "Job"):
        for each in objects:
            if each["kind"] == kind:
                for variable in pod([each], kind)["containers"][0]["env"]:
                    assert is_setting(variable["name"]), variable["name"]


def test_the_settings_file_is_one_the_service_takes(objects, tmp_path):
    file = tmp_path / "enginehouse.yaml"
    file.write_text(one(objects, "ConfigMap")["data"]["enginehouse.yaml"])
    load(file, {})


def test_nothing_runs_as_root_or_may_write_to_its_image(objects):
    for kind in {"StatefulSet", "Job"} & set(kinds(objects)):
        spec = pod(objects, kind)
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {"/tmp", "/var/lib/enginehouse"} <= mounts


def test_every_mount_has_its_volume_and_no_secret_is_written_out(objects, example):
    for kind in {"StatefulSet", "Job"} & set(kinds(objects)):
        spec = pod(objects, kind)
        claims = one(objects, kind)["spec"].get("volumeClaimTemplates", [])
        names = {volume["name"] for volume in spec["volumes"]} | {claim["metadata"]["name"] for claim in claims}
        mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounts == names
        secret = {each["name"] for each in spec["containers"][0]["env"] if "valueFrom" in each}
        assert secret == set(example["secrets"])


def test_probes_ask_routes_that_want_no_key(objects):
    container = pod(objects)["containers"][0]
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/ping", "liveness": "/ping", "readiness": "/ready"}


def test_selectors_find_the_pods_and_only_them(replicas):
    labels = one(replicas, "StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    migration = one(replicas, "Job")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [each["spec"]["selector"] for each in replicas if each["kind"] == "Service"]
    selectors += [one(replicas, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    selectors += [one(replicas, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    assert len(selectors) == 4
    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= migration


def test_the_monitor_selects_one_service(replicas):
    wanted = one(replicas, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = [each for each in replicas if each["kind"] == "Service"]
    assert [each["metadata"]["name"] for each in services if wanted <= each["metadata"]["labels"].items()] == [
        "house-enginehouse"
    ]


def test_alert_rules_and_monitor_agree_on_the_name_of_the_job(replicas):
    label = one(replicas, "ServiceMonitor")["spec"]["jobLabel"]
    services = [each for each in replicas if each["kind"] == "Service"]
    assert {each["metadata"]["labels"][label] for each in services} == {"enginehouse"}
    prometheus = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yaml").read_text())
    assert [each["job_name"] for each in prometheus["scrape_configs"]] == ["enginehouse"]


def test_a_small_release_is_small():
    assert kinds(rendered({"secrets": API_KEY})) == [
        "ConfigMap",
        "Service",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ]


def test_the_autoscaler_asks_for_what_the_adapter_serves(replicas):
    adapter = yaml.safe_load((ROOT / "deploy/helm/prometheus-adapter.yaml").read_text())
    metric = one(replicas, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["external"]["metric"]
    assert [rule["name"]["as"] for rule in adapter["rules"]["external"]] == [metric["name"]]
    assert "replicas" not in one(replicas, "StatefulSet")["spec"]


def test_keda_scales_by_the_same_wait_within_the_same_bounds(replicas):
    values = yaml.safe_load((ROOT / "deploy/helm/examples/replicas.yaml").read_text())
    values["autoscaling"] |= {"by": "keda", "prometheus": "http://prometheus:9090"}
    objects = rendered(values)
    assert "HorizontalPodAutoscaler" not in kinds(objects)
    spec, scaler = one(objects, "ScaledObject")["spec"], one(replicas, "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == scaler["scaleTargetRef"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (scaler["minReplicas"], scaler["maxReplicas"])
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaler["behavior"]
    (trigger,), (metric,) = spec["triggers"], scaler["metrics"]
    assert trigger["metadata"]["threshold"] == metric["external"]["target"]["value"]
    adapter = yaml.safe_load((ROOT / "deploy/helm/prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    ours = 'namespace="models",service="house-enginehouse"'
    wanted = rule["metricsQuery"].replace("<<.LabelMatchers>>", ours)
    assert trigger["metadata"]["query"] == f"{wanted} >= 0 or vector(0)"


def test_the_migration_runs_before_the_release_and_only_for_a_server():
    job = one(rendered({"secrets": {**API_KEY, "DATABASE_URL": {"name": "a", "key": "b"}}}), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["db", "upgrade"]
    assert "Job" not in kinds(rendered({"secrets": API_KEY}))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "Nobody could call"),
        ({"secrets": API_KEY, "replicas": 2}, "secrets.DATABASE_URL"),
        ({"secrets": API_KEY, "replica": 2}, "replica"),
        ({"secrets": {"api_key": {"name": "a", "key": "b"}}}, "api_key"),
        ({"secrets": {"API_KEY": "in plain sight"}}, "API_KEY"),
        ({"secrets": API_KEY, "ingress": {"enabled": True}}, "ingress.host"),
        ({"secrets": SHARED, "autoscaling": {"enabled": True, "by": "keda"}}, "autoscaling.prometheus"),
    ],
)
def test_values_that_cannot_work_are_refused_with_the_reason(values, why):
    assert why in refusal(values)


def test_the_alert_rules_are_those_of_the_repository(replicas):
    rules = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text())
    assert one(replicas, "PrometheusRule")["spec"] == rules


def test_chart_and_package_have_one_version():
    import enginehouse

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == enginehouse.__version__
