"""The definition of ETCDSnapshotFiles, in a cluster of ours and in one that RKE2 made."""

from copy import deepcopy

from rke2_units.snapshots import definition, objects
from rke2_units.snapshots.objects import Verification
from tests.unit.kubernetes_api import Object, merged
from tests.unit.snapshot_files import S3_PLACE, ago, in_s3


def fields(schema: Object, prefix: str = "") -> set[str]:
    """The paths of all fields of a schema."""
    inner = schema.get("properties") or (schema.get("items") or {}).get("properties") or {}
    found = set()
    for name, part in inner.items():
        found |= {f"{prefix}{name}"} | fields(part, f"{prefix}{name}.")
    return found


def leaves(value: object, prefix: str = "") -> set[str]:
    """The paths of all fields that an object has."""
    if isinstance(value, list):
        return set().union(*(leaves(item, prefix) for item in value))
    if not isinstance(value, dict):
        return set()
    return set().union(
        *({f"{prefix}{name}"} | leaves(part, f"{prefix}{name}.") for name, part in value.items())
    )


def of_rke2() -> Object:
    """As k3s' API has it: without conditions, and (of a later release) with a field that we do not know."""
    obj = deepcopy(definition.definition())
    obj["metadata"]["resourceVersion"] = "7"
    (version,) = obj["spec"]["versions"]
    version["additionalPrinterColumns"].pop()
    version["subresources"] = {}
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    del properties["status"]["properties"]["conditions"]
    properties["spec"]["properties"]["restrictions"] = {"type": "string"}
    return obj


def test_every_field_that_is_written_is_defined() -> None:
    (version,) = definition.definition()["spec"]["versions"]
    defined = fields(version["schema"]["openAPIV3Schema"])
    place = {**S3_PLACE, "endpointCA": "", "skipSSLVerify": False, "bucketLookup": "auto", "insecure": False}
    result = Verification("a", ago(), ok=True, message="")
    obj = objects.to_object(in_s3(error="e", s3=place), result)
    del obj["metadata"]
    assert leaves(obj) <= defined


def test_its_name_and_path_are_those_of_the_objects() -> None:
    spec = definition.definition()["spec"]
    assert f"{spec['names']['plural']}.{spec['group']}" == definition.NAME
    assert objects.COLLECTION == f"/apis/{spec['group']}/v1/{spec['names']['plural']}"
    assert objects.API_VERSION == f"{spec['group']}/v1"
    # An object is written as a whole, as RKE2 does.
    assert (spec["scope"], "subresources" in spec["versions"][0]) == ("Cluster", False)


def test_the_definition_of_rke2_gets_the_conditions_and_keeps_the_rest() -> None:
    before = of_rke2()
    patch = definition.update(before)
    assert patch is not None and patch["metadata"] == {"resourceVersion": "7"}
    after = merged(before, patch)
    assert definition.update(after) is None
    wanted = deepcopy(after)
    (version,) = wanted["spec"]["versions"]
    assert version["additionalPrinterColumns"].pop()["name"] == "Verified"
    del version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"]
    assert wanted == before == of_rke2()


def test_a_definition_with_conditions_is_left_alone() -> None:
    assert definition.update(definition.definition()) is None


def test_a_definition_without_a_schema_is_left_alone() -> None:
    versions: list[Object] = [
        {"name": "v1"},
        {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object"}}},
    ]
    assert definition.update({"metadata": {"resourceVersion": "1"}, "spec": {"versions": versions}}) is None
