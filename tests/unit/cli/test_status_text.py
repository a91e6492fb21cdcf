"""What a terminal gets of a status, whoever said it."""

import json
import unicodedata
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from rke2_units.cli.status_text import as_json, as_tree
from rke2_units.cluster.charts import Chart, charts
from rke2_units.cluster.cluster_status import Cluster, ClusterNode
from rke2_units.lean.pod_logs import most_telling
from rke2_units.node.snapshot_status import Snapshots
from rke2_units.node.status import Status, Unit

ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\n\r\x1b\x9b\u2028\u202e\u2066")), max_size=20)


def acts(text: str) -> bool:
    return any(unicodedata.category(letter) in ACTING for letter in text)


def shown(text: str) -> Status:
    """A status in which every word of others is this one."""
    unit = Unit("rke2-server.service", "loaded", "active", "running", "success", 1.0, 1, 1, 0, text)
    chart = Chart("kube-system", "a", text, text, 1, text, 1.0, text, text)
    node = ClusterNode(text, text, (text,), text, False, 1.0, "", text, text)
    problem = Unit("b.service", "loaded", "failed", "failed", text, 1.0, 1, 1, 0, text, problem=text)
    snapshots = Snapshots(True, text, 1.0, 1, 1.0, text, 1.0, False, text, text)
    return Status("server", "v1", (unit, problem), (chart,), Cluster((node,), text), snapshots)


@given(TEXTS)
@example("\x1b[2Jall is well\u202e")
def test_the_tree_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    tree = as_tree(shown(text), 10.0)
    assert not any(map(acts, tree.split("\n")))
    # A line of others makes no line of its own.
    assert tree.count("\n") == as_tree(shown("x" if text else ""), 10.0).count("\n")
    assert json.loads(as_json(shown("\x1b")))["units"][0]["text"] == "\x1b"
    assert as_json(shown("\x1b\u202e")).isascii()


def test_charts_and_pods_last_words_are_lines(tmp_path: Path) -> None:
    values = {
        "namespace": "n",
        "name": "a",
        "state": "failed",
        "deployed": "1\x1b[2J",
        "words": "a\nb\u202e",
        "wanted": "x" * 5000,
    }
    (tmp_path / "charts.json").write_text(json.dumps([values]))
    (found,) = charts(str(tmp_path / "charts.json"))
    assert (found.deployed, found.problem, len(found.wanted)) == ("1 [2J", "a b", 1000)
    assert most_telling(['{"level":"fatal","msg":"a\\u001b[2J","error":"b\\nc"}']) == "a [2J: b c"
