"""rke2-images and the gate on one image, with a ctr that keeps its images in a directory."""

import gzip
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.images import image_pull, image_store, pull
from rke2_units.images.image_store import Present
from rke2_units.images.references import normalise
from rke2_units.images.registries import Registries
from rke2_units.lean import systemd
from rke2_units.lean.settings import Settings
from rke2_units.lean.systemd import UnitState
from rke2_units.programs import image, images
from tests.unit.program_values import (
    IMAGE,
    Member,
    archive_bytes,
    image_files,
    layer,
    make_settings,
    oci_archive,
    pulled_files,
)

ETCD = "docker.io/rancher/hardened-etcd:v3"
OTHER = "docker.io/rancher/other:v1"

# What containerd does, as far as it matters here: an image's digest follows from its content.
CTR = """#!/usr/bin/python3 -I
import fcntl, hashlib, io, json, os, sys, tarfile
store, calls = {store!r}, {calls!r}
lock = open(store + ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
arguments = sys.argv[5:]
with open(calls, "a") as file:
    print(*arguments, file=file)
images = json.load(open(store)) if os.path.exists(store) else {{}}
if arguments[:2] == ["images", "ls"]:
    wanted = [item.removeprefix("name==") for item in arguments[2:]]
    print("REF TYPE DIGEST SIZE PLATFORMS LABELS")
    for name, (digest, labels) in images.items():
        if not wanted or name in wanted:
            print(name, "application/vnd", digest, "1.0 MiB", "linux/amd64", ",".join(labels) or "-")
elif arguments[:2] == ["images", "import"]:
    archive = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()))
    pulled = "index.json" in archive.getnames()
    for entry in json.load(archive.extractfile("index.json"))["manifests"] if pulled else ():
        notes = entry["annotations"]
        name = notes.get("io.containerd.image.name") or notes["org.opencontainers.image.ref.name"]
        images[name] = [entry["digest"], []]
    for entry in () if pulled else json.load(archive.extractfile("manifest.json")):
        content = b"".join(archive.extractfile(path).read() for path in [entry["Config"], *entry["Layers"]])
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        for name in entry["RepoTags"]:
            images[name] = [digest, []]
elif arguments[:2] == ["images", "label"]:
    labels = dict(item.split("=") for item in images[arguments[2]][1] + arguments[3:])
    images[arguments[2]][1] = [f"{{key}}={{value}}" for key, value in labels.items() if value]
elif arguments[:3] == ["images", "tag", "--force"]:
    images[arguments[4]] = list(images[arguments[3]])
else:
    sys.exit("ctr: failed to resolve reference")
json.dump(images, open(store, "w"))
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = str(tmp_path / "run/images.json")
    monkeypatch.setattr(images, "_MEMORY", str(tmp_path / "state/image-archives.json"))
    for function in (
        image_store.write_present,
        image_store.note_present,
        image_store.read_present,
        image_store.forget_present,
    ):
        monkeypatch.setattr(function, "__defaults__", (present,))
    monkeypatch.setattr(image_pull, "_LOCKS", str(tmp_path / "run/pulls"))
    monkeypatch.setattr(systemd, "unit_state", lambda unit: UnitState("active", "exited"))
    monkeypatch.setattr(image, "_PATIENCE", 0.2)
    monkeypatch.setattr(image, "_FIRST_LOOK", 0.0)
    monkeypatch.setattr(image, "_LOOK", 0.1)


class Registry:
    """Pulls, in place of skopeo: what is in `images` is had, after `before` was called."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.asked: list[str] = []
        self.before: Callable[[], object] = list

    def fetch(
        self, registries: Registries, reference: str, directory: str, *, tell: object, progress: object
    ) -> str:
        name = normalise(reference)
        self.asked.append(name)
        os.makedirs(directory)
        self.before()
        if name not in self.images:
            raise UserError(f"{reference} cannot be pulled: https://registry-1.docker.io/v2: 404")
        pulled_files(Path(directory), [layer(Member("file", name))])
        return "https://registry-1.docker.io/v2"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(pull, "fetch", made.fetch)
    return made


def present() -> list[str]:
    found = image_store.read_present()
    return found.images if found else []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return with_ctr(tmp_path)


def with_ctr(tmp_path: Path, **changes: object) -> Settings:
    (tmp_path / "agent/images").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    ctr = tmp_path / "bin/ctr"
    ctr.write_text(CTR.format(store=str(tmp_path / "store.json"), calls=str(tmp_path / "calls")))
    ctr.chmod(0o755)
    return make_settings(tmp_path, **changes)


def add(root: Path, name: str, *image_names: str, content: str = "x") -> Path:
    path = root / "agent/images" / name
    archive = archive_bytes(image_files(image_names, [layer(Member("file", content))]))
    path.write_bytes(gzip.compress(archive) if name.endswith("gz") else archive)
    return path


def calls(root: Path, verb: str) -> list[str]:
    file = root / "calls"
    found = [line.split()[1:] for line in file.read_text().splitlines()] if file.exists() else []
    file.unlink(missing_ok=True)
    return [line[-1] for line in found if line[0] == verb]


def stored(root: Path) -> dict[str, list[object]]:
    found: dict[str, list[object]] = json.loads((root / "store.json").read_text())
    return found


def test_archives_are_imported_and_their_images_kept_from_collection(
    tmp_path: Path, settings: Settings
) -> None:
    add(tmp_path, "a.tar", OTHER)
    add(tmp_path, "b.tar.gz", ETCD, content="y")
    images.program(settings, [])
    assert set(stored(tmp_path)) == {ETCD, OTHER}
    assert all("io.cri-containerd.pinned=pinned" in str(labels) for _, labels in stored(tmp_path).values())
    assert set(present()) == {ETCD, OTHER}


def test_what_static_pods_wait_for_comes_first(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path, "a.tar", OTHER)
    add(tmp_path, "b.tar", ETCD, content="y")
    images.program(settings, [])
    output = capsys.readouterr().err
    assert output.index("b.tar (1 of 2") < output.index("a.tar (2 of 2")


@pytest.mark.parametrize("memory", ["kept", "lost", "damaged"])
def test_images_that_are_there_are_not_imported_again(
    tmp_path: Path, settings: Settings, memory: str
) -> None:
    add(tmp_path, "a.tar", ETCD)
    images.program(settings, [])
    calls(tmp_path, "")
    file = tmp_path / "state/image-archives.json"
    if memory == "damaged":
        file.write_text('{"archives": 7}')
    elif memory == "lost":
        file.unlink()
    images.program(settings, [])
    # Without the memory, this ctr has nothing to tell the content by (containerd's CRI plugin has).
    assert len(calls(tmp_path, "import")) == (0 if memory == "kept" else 1)


def test_containerds_second_name_of_an_image_tells_its_content(tmp_path: Path, settings: Settings) -> None:
    path = add(tmp_path, "a.tar", ETCD)
    images.program(settings, [])
    config = images.Memory("/nonexistent").images(str(path))[0].config.removesuffix(".json")
    store = stored(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps(store | {f"sha256:{config}": store[ETCD]}))
    (tmp_path / "state/image-archives.json").unlink()
    calls(tmp_path, "")
    images.program(settings, [])
    assert calls(tmp_path, "import") == []


def test_new_content_under_an_old_name_and_date_is_imported(tmp_path: Path, settings: Settings) -> None:
    path = add(tmp_path, "a.tar", ETCD, content="old")
    images.program(settings, [])
    before, digest = path.stat(), stored(tmp_path)[ETCD][0]
    add(tmp_path, "a.tar", ETCD, content="new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    images.program(settings, [])
    assert stored(tmp_path)[ETCD][0] != digest


def test_an_image_that_was_removed_is_imported_again(tmp_path: Path, settings: Settings) -> None:
    add(tmp_path, "a.tar", ETCD)
    images.program(settings, [])
    (tmp_path / "store.json").unlink()
    images.program(settings, [])
    assert ETCD in stored(tmp_path)


def test_the_runtime_image_is_not_imported(tmp_path: Path, settings: Settings) -> None:
    add(tmp_path, "a.tar", f"docker.io/{IMAGE}")
    images.program(settings, [])
    assert calls(tmp_path, "import") == []


def test_one_image_in_two_archives_is_imported_once(tmp_path: Path, settings: Settings) -> None:
    add(tmp_path, "a.tar", ETCD)
    add(tmp_path, "b.tgz", ETCD)
    images.program(settings, [])
    assert len(calls(tmp_path, "import")) == 1


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_damaged_archive_is_named_and_the_others_imported(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], name: str, kept: float
) -> None:
    damaged = add(tmp_path, name, OTHER, content=os.urandom(30000).hex())
    damaged.write_bytes(damaged.read_bytes()[: int(damaged.stat().st_size * kept)])
    add(tmp_path, "b.tar", ETCD)
    with pytest.raises(UserError, match=f"could not import.*{damaged}"):
        images.program(settings, [])
    assert f"<3>{damaged} " in capsys.readouterr().err
    # Those who wait for its image are told, whether or not it could be read that it has that image.
    noted = image_store.read_present()
    assert noted and list(noted.reasons) in ([OTHER], [image_store.ANY])
    assert all(str(damaged) in reason for reason in noted.reasons.values())
    assert ETCD in stored(tmp_path)
    assert present() == [ETCD]


def test_an_archive_that_nests_without_end_is_damaged_as_any_other(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "agent/images/a.tar"
    with tarfile.open(damaged, "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(b"[" * member.size))
    add(tmp_path, "b.tar", ETCD)
    with pytest.raises(UserError, match=f"could not import.*{damaged}"):
        images.program(settings, [])
    assert f"<3>{damaged} is damaged" in capsys.readouterr().err
    assert present() == [ETCD]


def test_a_link_that_leads_nowhere_is_named_and_the_others_imported(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path, "b.tar", ETCD)
    (tmp_path / "agent/images/a.tar").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"could not import.*a\.tar"):
        images.program(settings, [])
    assert "a.tar cannot be read: No such file or directory" in capsys.readouterr().err
    assert present() == [ETCD]


def test_a_list_is_pulled_and_what_cannot_be_had_is_named(
    tmp_path: Path, settings: Settings, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = tmp_path / "agent/images/list.txt"
    lists.write_text(f"# core\n{ETCD}\n\nrancher/other:v1\n  rancher/third:v1\n{IMAGE}\n")
    add(tmp_path, "b.tar", ETCD)
    registry.images.add("docker.io/rancher/third:v1")
    with pytest.raises(UserError, match="list.txt"):
        images.program(settings, [])
    assert f"<3>{lists}: {OTHER} cannot be pulled: https://registry-1.docker.io" in capsys.readouterr().err
    # One that fails holds no other up, and the runtime image is not for containerd.
    assert registry.asked == [OTHER, "docker.io/rancher/third:v1"]
    assert "io.cri-containerd.pinned=pinned" in stored(tmp_path)["docker.io/rancher/third:v1"][1]  # type: ignore[operator]
    registry.images.add(OTHER)
    images.program(settings, [])
    assert OTHER in stored(tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize(
    "annotations",
    [
        {"io.containerd.image.name": OTHER, "org.opencontainers.image.ref.name": "v1"},  # nerdctl, Docker
        {"org.opencontainers.image.ref.name": OTHER},  # podman, skopeo
        {"org.opencontainers.image.ref.name": "rancher/other:v1"},  # as it was typed
    ],
)
def test_an_oci_layout_is_imported_under_the_names_of_its_index(
    tmp_path: Path, settings: Settings, name: str, annotations: dict[str, str]
) -> None:
    archive = oci_archive([layer(Member("file", "x"))], annotations)
    (tmp_path / "agent/images" / name).write_bytes(gzip.compress(archive))
    images.program(settings, [])
    assert "io.cri-containerd.pinned=pinned" in str(stored(tmp_path)[OTHER])
    assert OTHER in present()
    calls(tmp_path, "")
    (tmp_path / "state/image-archives.json").unlink()
    images.program(settings, [])
    # What the index leads to is what containerd knows it by, remembered or not.
    assert calls(tmp_path, "import") == []
    (tmp_path / "agent/images" / name).unlink()
    other = oci_archive([layer(Member("file", "new"))], annotations)
    (tmp_path / "agent/images/b.tar").write_bytes(other)
    before = stored(tmp_path)[OTHER][0]
    images.program(settings, [])
    assert stored(tmp_path)[OTHER][0] != before


@pytest.mark.parametrize("annotations", [{}, {"org.opencontainers.image.ref.name": "v1"}, {"x": OTHER}])
def test_an_oci_layout_without_a_name_is_told_with_what_it_lacks(
    tmp_path: Path, settings: Settings, annotations: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent/images/a.tar"
    path.write_bytes(oci_archive([layer(Member("file"))], annotations))
    with pytest.raises(UserError, match="could not import"):
        images.program(settings, [])
    assert f"{path} has no image with a full name" in capsys.readouterr().err


def test_what_is_passed_over_is_named_in_one_warning(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.TAR.ZST", "b.tar.xz", "c.tar.zstd", ".hidden", "d.tar.zst.sha256"):
        (tmp_path / "agent/images" / name).write_bytes(b"")
    add(tmp_path, "b.tar", ETCD)
    (tmp_path / "agent/images/list.txt").write_text("")
    images.program(settings, [])
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("<4>")]
    assert len(warnings) == 1
    assert warnings[0].endswith(": a.TAR.ZST, b.tar.xz, c.tar.zstd, d.tar.zst.sha256")
    for number in range(20):
        (tmp_path / f"agent/images/e{number:02}").write_bytes(b"")
    images.program(settings, [])
    assert capsys.readouterr().err.splitlines()[0].endswith("e05 and 14 more")


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{OTHER}\r\n",
        f"# old\n{OTHER} # a note\n",
        f"{OTHER}\t#note",
        f"#\n\ufeff{OTHER}\n\ufeff# x\n",  # two files put together
    ],
)
def test_byte_order_marks_and_notes_are_no_part_of_a_name(
    tmp_path: Path, settings: Settings, registry: Registry, text: str
) -> None:
    (tmp_path / "agent/images/list.txt").write_bytes(text.encode())
    registry.images.add(OTHER)
    images.program(settings, [])
    assert registry.asked == [OTHER]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_list_that_is_no_utf_8_is_named_and_the_others_pulled(
    tmp_path: Path,
    settings: Settings,
    registry: Registry,
    capsys: pytest.CaptureFixture[str],
    encoding: str,
) -> None:
    damaged = tmp_path / "agent/images/a.txt"
    damaged.write_bytes(f"{ETCD}\r\n".encode(encoding))
    (tmp_path / "agent/images/b.txt").write_text(OTHER)
    registry.images.add(OTHER)
    with pytest.raises(UserError, match=f"could not import.*{damaged}"):
        images.program(settings, [])
    assert registry.asked == [OTHER]
    assert f"<3>{damaged} is not UTF-8 text" in capsys.readouterr().err


def test_what_a_static_pod_waits_for_is_pulled_before_the_rest_of_a_list(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    (tmp_path / "agent/images/list.txt").write_text(f"{OTHER}\n{ETCD}\n")
    registry.images |= {ETCD, OTHER}
    images.program(settings, [])
    assert registry.asked == [ETCD, OTHER]


def test_what_no_archive_and_no_list_has_any_more_may_be_collected(
    tmp_path: Path, settings: Settings
) -> None:
    path = add(tmp_path, "a.tar", OTHER)
    add(tmp_path, "b.tar", ETCD, content="y")
    images.program(settings, [])
    path.unlink()
    damaged = tmp_path / "agent/images/c.tar"
    damaged.write_bytes(b"nonsense")
    with pytest.raises(UserError):
        # What is in it is not known.
        images.program(settings, [])
    assert "io.cri-containerd.pinned=pinned" in str(stored(tmp_path)[OTHER])
    damaged.unlink()
    images.program(settings, [])
    assert stored(tmp_path)[OTHER][1] == ["io.cri-containerd.image=managed"]
    assert "io.cri-containerd.pinned=pinned" in str(stored(tmp_path)[ETCD])


def test_images_of_archives_get_names_of_further_registries(tmp_path: Path) -> None:
    settings = with_ctr(
        tmp_path, images={"archives": f"{tmp_path}/agent/images", "extra_registries": ["reg.local:5000"]}
    )
    path = add(tmp_path, "a.tar", ETCD)
    images.program(settings, [])
    other = "reg.local:5000/rancher/hardened-etcd:v3"
    assert stored(tmp_path)[other] == stored(tmp_path)[ETCD]
    calls(tmp_path, "")
    images.program(settings, [])
    assert calls(tmp_path, "tag") == [] and "pinned" in str(stored(tmp_path)[other])
    path.unlink()
    add(tmp_path, "a.tar", ETCD, content="new")
    images.program(settings, [])
    assert stored(tmp_path)[other] == stored(tmp_path)[ETCD]


def test_an_image_that_has_been_brought_needs_no_ctr(tmp_path: Path, settings: Settings) -> None:
    add(tmp_path, "a.tar", ETCD)
    images.program(settings, [])
    calls(tmp_path, "")
    image.program(settings, ["etcd"])
    assert not (tmp_path / "calls").exists()


def test_an_image_that_is_on_its_way_is_waited_for(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "unit_state", lambda unit: UnitState("activating", "start"))
    add(tmp_path, "a.tar", ETCD)
    thread = threading.Timer(0.6, images.program, (settings, []))
    thread.start()
    began = time.monotonic()
    image.program(settings, ["etcd"])
    assert time.monotonic() - began > 0.5
    thread.join()


def test_an_image_that_is_not_on_its_way_is_not_waited_for(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "unit_state", lambda unit: UnitState("activating", "start"))
    image_store.write_present(Present([], [OTHER], {}))
    registry.images.add(ETCD)
    image.program(settings, ["etcd"])
    assert registry.asked == [ETCD]


def test_an_image_that_somebody_else_brought_is_found(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    (tmp_path / "store.json").write_text(json.dumps({ETCD: ["sha256:x", []]}))
    image.program(settings, ["etcd"])
    assert registry.asked == []


def test_an_image_that_no_archive_has_is_pulled_as_it_is(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    registry.images.add(ETCD)
    image.program(settings, ["etcd"])
    digest, labels = stored(tmp_path)[ETCD]
    # Not pinned: RKE2 leaves to the kubelet's collection what was pulled.
    assert str(digest).startswith("sha256:") and labels == []
    assert os.listdir(tmp_path / "agent/pulls") == []


def test_an_image_that_several_wait_for_is_pulled_once(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    registry.images.add(ETCD)
    registry.before = lambda: time.sleep(0.3)
    image_store.write_present(Present([], [], {}))
    threads = [threading.Thread(target=image.program, args=(settings, ["etcd"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.asked == [ETCD]
    assert present() == [ETCD]


def test_what_a_killed_pull_left_goes(tmp_path: Path, settings: Settings, registry: Registry) -> None:
    for name in ("0123456789abcdef", "fedcba9876543210.work"):
        (tmp_path / "agent/pulls" / name).mkdir(parents=True)
    registry.images.add(ETCD)
    image.program(settings, ["etcd"])
    assert os.listdir(tmp_path / "agent/pulls") == []


def test_a_pull_that_is_under_way_is_left_alone(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    registry.images |= {ETCD, OTHER}
    other = tmp_path / "agent/pulls"
    inside: list[str] = []

    def bring_another() -> None:
        registry.before = list
        inside.extend(os.listdir(other))
        image_pull.bring(settings, OTHER)
        assert set(inside) <= set(os.listdir(other))

    registry.before = bring_another
    image.program(settings, ["etcd"])
    assert len(inside) == 1


def test_an_image_that_is_nowhere_is_named_with_where_it_was_looked_for(
    tmp_path: Path, settings: Settings
) -> None:
    place = f"{tmp_path}/agent/images"
    with pytest.raises(
        UserError,
        match=rf"etcd: its image is in no archive in {place}, and .*hardened-etcd:v3 cannot be pulled: https://registry-1",
    ):
        image.program(settings, ["etcd"])


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ({ETCD: "b.tar cannot be imported: no space", OTHER: "c.tar", "": "d.tar"}, "b.tar .* no space"),
        ({OTHER: "c.tar", "": "d.tar cannot be read: it ends too early"}, "d.tar .* too early"),
        ({OTHER: "c.tar cannot be imported: no space"}, "its image is in no archive in .*, and"),
    ],
)
def test_an_image_whose_archive_could_not_be_imported_is_named_with_that_archives_reason(
    settings: Settings, reasons: dict[str, str], told: str
) -> None:
    # The others are still being imported.
    image_store.write_present(Present([], [OTHER], reasons))
    with pytest.raises(UserError, match=f"etcd: {told}.* cannot be pulled"):
        image.program(settings, ["etcd"])
