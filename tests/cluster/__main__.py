"""The command line of the test cluster."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import base_image, binaries, images, kind, lifecycle
from tests.cluster.commands import run
from tests.cluster.errors import AlreadyRunningError, ClusterError
from tests.cluster.settings import Cluster, Kind, chosen_kind, control_plane, full_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FAILED = 1
_ALREADY_RUNNING = 3
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except AlreadyRunningError as error:
        print(f"error: {error}; end it with `down`, or say --if-needed", file=sys.stderr)
        return _ALREADY_RUNNING
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("interrupted; what was started so far runs on, `down` ends it", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="A real one-node Kubernetes for tests.",
        epilog="CLUSTER=local (default), kind or current chooses what the commands work on. State is kept in "
        "HAMMERWORK_CLUSTER_DIR (/var/lib/hammerwork-cluster), built programs and images in HAMMERWORK_CACHE "
        "(~/.cache/hammerwork). Exit status: 0 done, 1 failed or unhealthy, 3 already running.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=action)
        return command

    add("build", _build, "build the cluster's programs, once per set of pins")
    for prefix, what in (("", "the whole cluster"), ("controlplane-", "etcd, API server and controllers only")):
        start = add(f"{prefix}up", _up, f"start {what}")
        start.add_argument("--if-needed", action="store_true", help="succeed if it runs already")
        start.set_defaults(cluster=control_plane if prefix else full_cluster)
        for name, action, text in (
            ("status", _status, "tell what runs and whether it is healthy"),
            ("down", _down, "end and remove everything"),
            ("env", _env, "print shell commands that set KUBECONFIG and PATH"),
        ):
            add(f"{prefix}{name}", action, f"{text} ({what})").set_defaults(cluster=start.get_default("cluster"))
    load = add("load-image", _load_image, "load OCI or Docker archives into the cluster")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    base = add("base-image", _base_image, "build a base of images from Debian packages into buildah's storage")
    base.add_argument("base", nargs="?", choices=base_image.BASES, default="python")
    return parser


def _kind_for(cluster: Cluster) -> Kind:
    # The control plane alone is always ours: neither kind nor a given cluster comes without a node.
    return chosen_kind() if cluster.has_node else Kind.LOCAL


def _build(_: argparse.Namespace) -> int:
    print(binaries.build_kind() if chosen_kind() is Kind.KIND else binaries.build())
    print(binaries.build_verdicts())
    return 0


def _up(options: argparse.Namespace) -> int:
    cluster: Cluster = options.cluster()
    chosen = _kind_for(cluster)
    try:
        if chosen is Kind.CURRENT:
            return _check_current()
        if chosen is Kind.KIND:
            kind.up(cluster)
        else:
            lifecycle.up(cluster)
    except AlreadyRunningError as error:
        if not options.if_needed:
            raise
        print(error)
    print(f"KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    cluster: Cluster = options.cluster()
    chosen = _kind_for(cluster)
    if chosen is Kind.CURRENT:
        raise ClusterError("CLUSTER=current: the cluster in KUBECONFIG was not started here, so it is not taken down")
    if chosen is Kind.KIND:
        kind.down(cluster)
    else:
        lifecycle.down(cluster)
    return 0


def _status(options: argparse.Namespace) -> int:
    cluster: Cluster = options.cluster()
    chosen = _kind_for(cluster)
    if chosen is Kind.CURRENT:
        return _check_current()
    healthy = kind.status() if chosen is Kind.KIND else lifecycle.status(cluster)
    return 0 if healthy else _FAILED


def _env(options: argparse.Namespace) -> int:
    cluster: Cluster = options.cluster()
    if _kind_for(cluster) is Kind.CURRENT:
        print(f"export KUBECONFIG={shlex.quote(_current_kubeconfig())}")
        return 0
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    print(f'export PATH={shlex.quote(str(binaries.binaries_folder()))}:"$PATH"')
    return 0


def _load_image(options: argparse.Namespace) -> int:
    chosen = chosen_kind()
    if chosen is Kind.CURRENT:
        raise ClusterError(
            "CLUSTER=current: images cannot be loaded into a cluster that was not started here; push them to a "
            "registry that it can pull from"
        )
    started = time.monotonic()
    if chosen is Kind.KIND:
        kind.load(options.archives)
    else:
        cluster = full_cluster()
        if not cluster.state.exists():
            raise ClusterError(f"{cluster.state}: no cluster there; start it with `up`")
        for name in images.load(cluster, options.archives):
            print(name)
    print(f"loaded in {time.monotonic() - started:.1f} s")
    return 0


def _base_image(options: argparse.Namespace) -> int:
    base = base_image.BASES[options.base]
    base_image.ensure(base)
    print(base.name)
    return 0


def _current_kubeconfig() -> str:
    value = os.environ.get("KUBECONFIG")
    if not value:
        raise ClusterError("CLUSTER=current: KUBECONFIG is not set; set it to the kubeconfig of the cluster to use")
    return value


def _check_current() -> int:
    value = _current_kubeconfig()
    answer = run(["kubectl", "--kubeconfig", value, "get", "--raw", "/readyz", "--request-timeout=10s"], check=False)
    if answer.returncode != 0:
        raise ClusterError(f"KUBECONFIG={value}: the cluster does not answer: {answer.stderr.strip()}")
    print(f"KUBECONFIG={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
