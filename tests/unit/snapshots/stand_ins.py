"""Stand-ins for etcd's programs. Database: {"revision", "compacted", "keys": {key: [revision, value]}}."""

import hashlib
import json
import os
import sys
from pathlib import Path

_PAGE = 512
# It knows what is asked of it here. A database lies in member/snap/db of etcd's data, or beside the program
# for a cluster, whose endpoint has the file's name.
_ETCDCTL = """\
#!{python} -SE
import base64, json, os, shutil, sys
here = os.path.dirname(sys.argv[0])
options = dict(a[2:].split("=", 1) if "=" in a else (a[2:], "") for a in sys.argv[1:] if a.startswith("--"))
words = [a for a in sys.argv[1:] if not a.startswith("--")]
def fail(text):
    print("Error:", text, file=sys.stderr)
    sys.exit(1)
if words[:2] == ["snapshot", "restore"]:
    os.makedirs(options["data-dir"] + "/member/snap")
    shutil.copy(words[2], options["data-dir"] + "/member/snap/db")
    sys.exit()
endpoint = options["endpoints"].split(",")[0]
place = os.path.basename(endpoint)
is_own = endpoint.startswith("unix:")
try:
    with open("../restored/member/snap/db" if is_own else f"{{here}}/{{place}}", "rb") as file:
        data = json.loads(file.read().partition(b"\\0")[0])
except FileNotFoundError:
    fail("context deadline exceeded")
if words[0] == "member":
    print(json.dumps({{"members": data["members"]}}))
    sys.exit()
revision = int(options.get("rev", 0)) or data["revision"]
if revision > data["revision"]:
    fail("etcdserver: mvcc: required revision is a future revision")
if revision < data.get("compacted", 0):
    fail("etcdserver: mvcc: required revision has been compacted")
start, end = (words[1:] + [""])[:2]
if "prefix" in options:
    end = start[:-1] + chr(ord(start[-1]) + 1)
only_one = not end and "from-key" not in options
found = [
    key for key in sorted(data["keys"])
    if (key == start if only_one else start <= key and (not end or key < end))
]
encoded = lambda text: base64.b64encode(text.encode()).decode()
kvs = [
    {{"key": encoded(key), "mod_revision": data["keys"][key][0], "value": encoded(data["keys"][key][1])}}
    for key in found
]
answer = {{"header": {{"revision": data["revision"]}}, "count": len(found), "kvs": kvs}}
print(json.dumps({{name: value for name, value in answer.items() if value}}))
"""
_ETCD = """\
#!/bin/sh
[ "$1" != --help ] || exit 0
grep -q '"broken": true' ../restored/member/snap/db && {{ echo 'panic: page 7 already freed' >&2; exit 2; }}
touch client:0
exec sleep 60
"""


class Programs:
    """The programs in a folder, and the clusters that they reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd, self.etcdctl = str(folder / "etcd"), str(folder / "etcdctl")
        for path, text in ((self.etcd, _ETCD), (self.etcdctl, _ETCDCTL)):
            Path(path).write_text(text.format(python=sys.executable))
            os.chmod(path, 0o755)

    def have_cluster(self, endpoint: str, database: dict[str, object]) -> None:
        """From now on this endpoint answers so."""
        (self.folder / os.path.basename(endpoint)).write_text(json.dumps(database))


def snapshot(database: dict[str, object]) -> bytes:
    """The file that etcd would save."""
    text = json.dumps(database).encode()
    whole = text + bytes(-len(text) % _PAGE or _PAGE)
    return whole + hashlib.sha256(whole).digest()
