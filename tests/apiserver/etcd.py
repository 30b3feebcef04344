"""`python -m tests.apiserver.etcd copy` copies the control plane's etcd, `put-back` puts the copy back.

`start-again` starts etcd and an API server that was killed.

A program of its own, since what it starts outlives it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys

from tests.cluster import binaries, controlplane
from tests.cluster.lifecycle import processes_of
from tests.cluster.processes import stop_process
from tests.cluster.settings import control_plane


def main(what: str) -> None:
    """Stop etcd, copy or replace its data, and start it again.

    Where the data are replaced the API server is killed before; there, and with `start-again`, it is started too.
    """
    cluster = control_plane()
    processes, programs = processes_of(cluster), binaries.binaries_folder()
    data, copy = cluster.state / "etcd", cluster.state / "etcd-copy"
    running = {record.name: record for record in processes.records() if record.is_alive()}
    if what == "put-back":
        os.kill(running["kube-apiserver"].pid, signal.SIGKILL)
    stop_process(running["etcd"])
    if what == "copy":
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(data, copy)
        controlplane.start_etcd(cluster, processes, programs)
    else:
        if what == "put-back":
            shutil.rmtree(data)
            copy.rename(data)
        controlplane.start_api(cluster, processes, programs)


if __name__ == "__main__":
    main(sys.argv[1])
