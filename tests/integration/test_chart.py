"""The Helm chart: linted, rendered with the example values, each object held against the schemas of Kubernetes."""

import json

import kubernetes_validate
import pytest
import yaml

from enginehouse.settings import load
from tests.integration.charts import CHART, ROOT, linted, refusal, rendered
from tests.integration.variables import is_setting

EXAMPLES = sorted((ROOT / "deploy/helm/examples").glob("*.yaml"))
OPERATORS = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "RayCluster"}
"""Kinds of the Prometheus operator, KEDA and KubeRay, which Kubernetes' schemas do not have."""
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


@pytest.fixture(scope="module")
def fleet():
    return rendered(yaml.safe_load((ROOT / "deploy/helm/examples/fleet.yaml").read_text()))


def kinds(objects: list[dict]) -> list[str]:
    return sorted(each["kind"] for each in objects)


def one(objects: list[dict], kind: str) -> dict:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def pod(objects: list[dict], kind: str = "StatefulSet") -> dict:
    return one(objects, kind)["spec"]["template"]["spec"]


def ray_pods(objects: list[dict]) -> list[dict]:
    """Head and workers, as pods."""
    found = []
    for cluster in (each["spec"] for each in objects if each["kind"] == "RayCluster"):
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            found += [{"apiVersion": "v1", "kind": "Pod", **group["template"]}]
    return found


def test_there_are_four_examples():
    assert [path.stem for path in EXAMPLES] == ["fleet", "gpu", "minimal", "replicas"]


def test_lint_finds_nothing(example):
    assert [each for each in linted(example) if each["severity"] > 1] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_object_is_one_that_kubernetes_knows(objects, version):
    for each in objects:
        if each["kind"] not in OPERATORS:
            kubernetes_validate.validate(each, version, strict=True)
    for each in ray_pods(objects):
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
    for each in ray_pods(objects):
        for variable in each["spec"]["containers"][0]["env"]:
            assert is_setting(variable["name"]) or variable["name"].startswith("RAY_"), variable["name"]


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
    for each in ray_pods(objects):
        assert each["spec"]["securityContext"]["runAsNonRoot"]
        (container,) = each["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in each["spec"]["volumes"]}


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


def test_a_replica_that_is_stopped_serves_on_and_then_ends_its_answers(replicas):
    spec = pod(replicas)
    variables = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    settings = load(None, {})
    needed = float(variables["ENGINEHOUSE_SERVER__DRAIN_DELAY"]) + settings.server.shutdown_timeout
    assert float(variables["ENGINEHOUSE_SERVER__DRAIN_DELAY"]) >= 5
    assert spec["terminationGracePeriodSeconds"] > needed + settings.residency.stop_grace


def test_the_service_finds_the_ray_cluster_and_places_nothing_on_its_own_part_of_it(fleet):
    cluster, spec = one(fleet, "RayCluster"), pod(fleet)
    service, part = spec["containers"]
    variables = {each["name"]: each.get("value") for each in service["env"]}
    head = f"{cluster['metadata']['name']}-head-svc:6379"
    settings = load(None, {name: variables[name] for name in variables if name.startswith("ENGINEHOUSE_FLEET__")})
    assert (settings.fleet.placement, settings.fleet.ray.address) == ("ray", head)
    assert settings.fleet.autoscale == cluster["spec"]["enableInTreeAutoscaling"] is True
    assert f"--address={head}" in part["command"]
    assert {"--num-cpus=0", "--num-gpus=0", "--memory=0", "--labels=enginehouse=off"} <= set(part["command"])
    assert cluster["spec"]["headGroupSpec"]["labels"] == {"enginehouse": "off"}
    shared = {"name": "tmp", "mountPath": "/tmp"}
    assert shared in service["volumeMounts"]
    assert shared in part["volumeMounts"]
    wait = int(part["lifecycle"]["preStop"]["exec"]["command"][1])
    assert 0 < wait < spec["terminationGracePeriodSeconds"]


def test_engines_on_rays_pods_give_way_to_nobody(fleet):
    for each in ray_pods(fleet):
        variables = {one["name"]: one.get("value") for one in each["spec"]["containers"][0]["env"]}
        assert variables["RAY_worker_niceness"] == "0"


def test_rays_own_autoscaler_reads_the_groups_as_they_are_meant(fleet):
    reader = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    cluster = one(fleet, "RayCluster")
    cluster["metadata"]["namespace"] = "models"
    kinds_of_nodes = reader._derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    found = {
        name: (kind["min_workers"], kind["max_workers"], kind["labels"], kind["resources"].get("GPU", 0))
        for name, kind in kinds_of_nodes.items()
    }
    assert found == {
        "headgroup": (0, 0, {"enginehouse": "off"}, 0),
        "l4": (2, 32, {"accelerator": "l4"}, 1),
        "h100": (0, 8, {"accelerator": "h100"}, 8),
    }
    assert kinds_of_nodes["headgroup"]["resources"]["CPU"] == 0
    assert kinds_of_nodes["l4"]["resources"]["memory"] == 48 * 2**30


def test_models_ask_for_labels_that_some_group_has(fleet):
    models = yaml.safe_load(one(fleet, "ConfigMap")["data"]["enginehouse.yaml"])["models"]
    groups = [group["labels"] for group in one(fleet, "RayCluster")["spec"]["workerGroupSpecs"]]
    for model in models.values():
        assert any(model["labels"].items() <= labels.items() for labels in groups)


def test_rays_pods_are_reached_by_replicas_and_each_other_alone(fleet):
    policies = {each["metadata"]["name"]: each["spec"] for each in fleet if each["kind"] == "NetworkPolicy"}
    fence, own = policies["house-enginehouse-ray"], policies["house-enginehouse"]
    service_pods = one(fleet, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for each in ray_pods(fleet):
        assert fence["podSelector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        assert not own["podSelector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    every_port = [peer for rule in fence["ingress"] if "ports" not in rule for peer in rule["from"]]
    selectors = [peer["podSelector"]["matchLabels"] for peer in every_port]
    assert selectors == [fence["podSelector"]["matchLabels"], own["podSelector"]["matchLabels"]]
    assert selectors[1].items() <= service_pods.items()
    assert {"from": [{"podSelector": fence["podSelector"]}]} in own["ingress"]


def test_workers_are_drained_one_at_a_time(fleet):
    (budget,) = [
        each
        for each in fleet
        if each["kind"] == "PodDisruptionBudget" and each["metadata"]["name"].endswith("-ray")
    ]
    assert budget["spec"]["maxUnavailable"] == 1
    for each in ray_pods(fleet):
        assert budget["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()


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
        ({"secrets": API_KEY, "terminationGracePeriodSeconds": 45}, "at least 50"),
        ({"secrets": API_KEY, "config": {"server": {"shutdown_timeout": 120}}}, "at least 140"),
        ({"secrets": API_KEY, "fleet": {"ray": {"enabled": True}}}, "fleet.ray.groups"),
        ({"secrets": API_KEY, "fleet": {"ray": {"enabled": True, "groups": [{"name": "a"}]}}}, "resources"),
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
