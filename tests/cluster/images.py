"""Images in the cluster: the Pods' pause image, and archives that are loaded without any registry."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.containers import ctr
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cluster.settings import Cluster

PAUSE_IMAGE = "localhost/hammerwork/pause:1"
_OCI = "application/vnd.oci.image"
_LOAD_SECONDS = 300.0


def load_pause_image(cluster: Cluster, binaries: Path) -> None:
    """Make the image of the pause program and import it."""
    archive = cluster.state / "pause.tar"
    write_archive(archive, PAUSE_IMAGE, binaries / "pause")
    load(cluster, [archive])


def load(cluster: Cluster, archives: Sequence[Path]) -> list[str]:
    """Import OCI or Docker archives; return the names of their images.

    Raises:
        ClusterError: a file is not there, is not an archive of named images, or containerd refused it.
    """
    loaded = []
    for archive in archives:
        names = archive_names(archive)
        # Importing unpacks every layer again, which takes seconds for each image.
        if not _is_loaded(cluster, archive):
            ctr(cluster, "images", "import", archive, seconds=_LOAD_SECONDS)
        present = _present(cluster)
        missing = [name for name in names if name not in present]
        if missing:
            raise ClusterError(f"{archive}: imported, but containerd does not list {missing[0]}; it has {[*present]}")
        loaded += names
    return loaded


def _is_loaded(cluster: Cluster, archive: Path) -> bool:
    """Whether containerd has just the images of a Docker archive. OCI's format does not have their ids at hand."""
    with tarfile.open(archive) as content:
        if "manifest.json" not in content.getnames():
            return False
        images = _read_json(content, "manifest.json")
    # An image's id is the digest of its configuration, which is stored under it.
    ids = {name: f"sha256:{Path(image['Config']).stem}" for image in images for name in image["RepoTags"]}
    present = _present(cluster)
    return all(name in present and _id_of(cluster, present[name]) == image_id for name, image_id in ids.items())


def _id_of(cluster: Cluster, manifest_digest: str) -> str | None:
    manifest = json.loads(ctr(cluster, "content", "get", manifest_digest).stdout)
    found: str | None = manifest.get("config", {}).get("digest")
    return found


def _present(cluster: Cluster) -> dict[str, str]:
    """The digests of the manifests that containerd has, by the images' names."""
    rows = [line.split() for line in ctr(cluster, "images", "list").stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows}


def archive_names(archive: Path) -> list[str]:
    """The full names of the images in an OCI or Docker archive.

    Raises:
        ClusterError: no such file, not an archive, or images without a full name.
    """
    if not archive.is_file():
        raise ClusterError(f"{archive}: no such file")
    try:
        with tarfile.open(archive) as content:
            members = set(content.getnames())
            # An archive by Docker may have both files; only the second then has the names in full.
            if "manifest.json" in members:
                names = [name for image in _read_json(content, "manifest.json") for name in image["RepoTags"] or []]
            elif "index.json" in members:
                names = [_index_name(image) for image in _read_json(content, "index.json")["manifests"]]
            else:
                raise ClusterError(f"{archive}: has neither index.json nor manifest.json, so it is no image archive")
    except tarfile.TarError as error:
        raise ClusterError(f"{archive}: not a tar file, so it is no image archive") from error
    except (ValueError, KeyError) as error:
        raise ClusterError(f"{archive}: not an OCI or Docker archive: {error!r}") from error
    if not names or any("/" not in name for name in names):
        raise ClusterError(
            f"{archive}: its images are named {names or 'not at all'}; give a full name when writing it, such as "
            "oci-archive:FILE:localhost/hammerwork/operator:dev"
        )
    return names


def _index_name(image: dict[str, Any]) -> str:
    annotations = image.get("annotations") or {}
    # containerd's own annotation, else OCI's, in which buildah writes the full name.
    name: str = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name", "")
    return name


def _read_json(content: tarfile.TarFile, name: str) -> Any:
    file = content.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return json.load(file)


def write_archive(archive: Path, name: str, program: Path) -> None:
    """Write an OCI archive of one image that holds one static program and runs it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as content:
        _add(content, program.name, program.read_bytes(), mode=0o755)
    configuration = {
        "architecture": _architecture(program),
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    configuration_blob = json.dumps(configuration).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _descriptor(f"{_OCI}.config.v1+json", configuration_blob),
        "layers": [_descriptor(f"{_OCI}.layer.v1.tar", layer.getvalue())],
    }
    manifest_blob = json.dumps(manifest).encode()
    entry = _descriptor(f"{_OCI}.manifest.v1+json", manifest_blob)
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    with tarfile.open(archive, mode="w") as content:
        _add(content, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        for blob in (layer.getvalue(), configuration_blob, manifest_blob):
            _add(content, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)
        _add(content, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())


def _architecture(program: Path) -> str:
    # e_machine, at offset 18 of an ELF file.
    machine = int.from_bytes(program.read_bytes()[18:20], "little")
    try:
        return {62: "amd64", 183: "arm64"}[machine]
    except KeyError:
        raise ClusterError(f"{program}: for ELF machine {machine}; only 62 (amd64) and 183 (arm64) are known") from None


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _add(content: tarfile.TarFile, name: str, blob: bytes, *, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(blob)
    member.mode = mode
    content.addfile(member, io.BytesIO(blob))
