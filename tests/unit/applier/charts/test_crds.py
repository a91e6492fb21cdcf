"""The definitions of HelmChart and HelmChartConfig have helm-controller's fields, and take none away."""

import copy
from typing import Any

from rke2_units.applier.charts import crds

CHART_FIELDS = {
    "authPassCredentials", "authSecret", "backOffLimit", "bootstrap", "chart", "chartContent",
    "createNamespace", "dockerRegistrySecret", "driver", "failurePolicy", "forceConflicts",
    "helmVersion", "insecureSkipTLSVerify", "jobImage", "plainHTTP", "podSecurityContext", "repo",
    "repoCA", "repoCAConfigMap", "securityContext", "serverSide", "set", "takeOwnership",
    "targetNamespace", "timeout", "values", "valuesContent", "valuesSecrets", "version",
}  # fmt: skip
CONFIG_FIELDS = {
    "failurePolicy", "forceConflicts", "serverSide", "values", "valuesContent", "valuesSecrets",
}  # fmt: skip


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return found


def present(definition: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(definition)
    found["metadata"]["resourceVersion"] = "7"
    return found


def test_the_definitions_have_helm_controllers_names_and_fields() -> None:
    chart, config = crds.definitions()
    assert chart["metadata"]["name"] == "helmcharts.helm.cattle.io"
    assert config["metadata"]["name"] == "helmchartconfigs.helm.cattle.io"
    assert set(schema(chart)["spec"]["properties"]) == CHART_FIELDS
    assert set(schema(config)["spec"]["properties"]) == CONFIG_FIELDS
    assert set(schema(chart)["status"]["properties"]) == {"jobName", "conditions"}


def test_a_definition_that_lacks_a_field_is_brought_up_to_date() -> None:
    wanted = crds.definitions()[0]
    older = present(wanted)
    del schema(older)["spec"]["properties"]["serverSide"]
    patch = crds.update(older, wanted)
    assert patch is not None
    assert patch["metadata"]["resourceVersion"] == "7"
    assert patch["spec"]["versions"] == wanted["spec"]["versions"]


def test_a_definition_with_more_fields_is_left_alone() -> None:
    wanted = crds.definitions()[0]
    newer = present(wanted)
    schema(newer)["spec"]["properties"]["ofTheFuture"] = {"type": "string"}
    assert crds.update(newer, wanted) is None


def test_a_definition_is_usable_once_it_is_established() -> None:
    assert not crds.is_established({})
    conditions = [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "False"}]
    assert not crds.is_established({"status": {"conditions": conditions}})
    assert crds.is_established({"status": {"conditions": [{"type": "Established", "status": "True"}]}})


def test_a_config_that_does_not_speak_of_failures_says_nothing_of_them() -> None:
    chart, config = crds.definitions()
    assert schema(chart)["spec"]["properties"]["failurePolicy"]["default"] == "reinstall"
    assert "default" not in schema(config)["spec"]["properties"]["failurePolicy"]
