"""The parts of the test cluster's harness that need no cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import binaries, images, lifecycle, processes
from tests.cluster.containers import to_toml
from tests.cluster.errors import ClusterError
from tests.cluster.locking import exclusive, lock_path
from tests.cluster.network import removal_script
from tests.cluster.node import parse_addresses
from tests.cluster.processes import ProcessRecord, ProcessTable, boot_id, start_ticks, stop_process
from tests.cluster.settings import Kind, chosen_kind, control_plane, full_cluster
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestCacheKey:
    def test_same_files_same_key(self, tmp_path: Path) -> None:
        files = [tmp_path / "go.mod", tmp_path / "go.sum"]
        for file in files:
            file.write_text(file.name)
        assert binaries.cache_key(files) == binaries.cache_key(files)

    @pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go"])
    def test_any_changed_file_changes_the_key(self, tmp_path: Path, changed: str) -> None:
        files = [tmp_path / name for name in ("go.mod", "go.sum", "main.go")]
        for file in files:
            file.write_text("one")
        before = binaries.cache_key(files)
        (tmp_path / changed).write_text("two")
        assert binaries.cache_key(files) != before

    def test_text_moved_between_files_changes_the_key(self, tmp_path: Path) -> None:
        files = [tmp_path / "go.mod", tmp_path / "go.sum"]
        files[0].write_text("ab")
        files[1].write_text("c")
        before = binaries.cache_key(files)
        files[0].write_text("a")
        files[1].write_text("bc")
        assert binaries.cache_key(files) != before

    def test_folder_names_the_version_and_is_outside_the_tree(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path))
        folder = binaries.binaries_folder()
        assert folder.parent == tmp_path
        assert folder.name.startswith("kubernetes-v1.")

    def test_version_of_a_module_that_is_not_required(self) -> None:
        with pytest.raises(ClusterError, match=r"no requirement of k8s\.io/kubernetes"):
            binaries.module_version("module x\n", "k8s.io/kubernetes")


class TestBuild:
    """With a program in Go's place that takes half a second and notes each of its runs."""

    @pytest.fixture
    def go_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        runs = tmp_path / "runs"
        go = tmp_path / "bin" / "go"
        go.parent.mkdir()
        made = " ".join(["server" if name == "etcd" else name for name in binaries.PROGRAMS])
        go.write_text(f'#!/bin/sh\necho run >>{runs}\nsleep 0.5\ncd "$5" && touch {made}\n')
        go.chmod(0o755)
        monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path / "cache"))
        return runs

    def test_second_call_builds_nothing(self, go_runs: Path) -> None:
        folder = binaries.build()
        assert binaries.build() == folder
        assert {file.name for file in folder.iterdir()} == set(binaries.PROGRAMS)
        assert go_runs.read_text() == "run\n"

    def test_two_at_once_build_once(self, go_runs: Path) -> None:
        threads = [threading.Thread(target=binaries.build) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert binaries.binaries_folder().is_dir()
        assert go_runs.read_text() == "run\n"

    def test_failed_build_leaves_no_folder(self, tmp_path: Path, go_runs: Path) -> None:
        (tmp_path / "bin" / "go").write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
        with pytest.raises(ClusterError, match="no such module"):
            binaries.build()
        assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["locks"]
        assert not go_runs.exists()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def record_of(process: subprocess.Popen[bytes]) -> ProcessRecord:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return ProcessRecord(1, "sleeper", process.pid, ticks, boot_id())


class TestProcessRecord:
    def test_running_process_is_alive(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert record_of(sleeper).is_alive()

    def test_ended_process_is_stale_even_as_zombie(self, sleeper: subprocess.Popen[bytes]) -> None:
        record = record_of(sleeper)
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert not record.is_alive()

    @pytest.mark.parametrize("of_another", [{"start_ticks": 1}, {"boot": "an earlier boot"}])
    def test_same_pid_of_another_process_is_stale_and_left_alone(
        self, sleeper: subprocess.Popen[bytes], of_another: dict[str, Any]
    ) -> None:
        stale = replace(record_of(sleeper), **of_another)
        assert not stale.is_alive()
        stop_process(stale)
        assert sleeper.poll() is None

    def test_program_name_with_spaces_and_parentheses(self, tmp_path: Path) -> None:
        (tmp_path / "7").mkdir()
        fields = " ".join(str(number) for number in range(4, 53))
        (tmp_path / "7" / "stat").write_text(f"7 (a) b (c)) S {fields}\n")
        assert start_ticks(7, proc=tmp_path) == 22

    def test_no_such_process(self, tmp_path: Path) -> None:
        assert start_ticks(7, proc=tmp_path) is None


class TestProcessTable:
    """Started in a process of its own, as a shell starts the harness, so that nobody here waits for the children."""

    START = (
        "import os, sys; from pathlib import Path; from tests.cluster.processes import ProcessTable\n"
        "table = ProcessTable(Path(sys.argv[1], 'processes'), Path(sys.argv[1], 'logs'))\n"
        "[table.start(f'{number}', ['sh', '-c', command]) for number, command in enumerate(sys.argv[2:])]\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )

    def started(self, folder: Path, *commands: str) -> ProcessTable:
        subprocess.run([sys.executable, "-c", self.START, str(folder), *commands], check=True, timeout=30)
        return ProcessTable(folder / "processes", folder / "logs")

    def test_processes_outlive_their_starter_and_end_in_reverse_order(self, tmp_path: Path) -> None:
        note = tmp_path / "ended"
        script = f"trap 'echo {{}} >>{note}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
        table = self.started(tmp_path, script.format("first"), script.format("second"))
        assert all(record.is_alive() for record in table.records())
        for name in ("0", "1"):
            log = tmp_path / "logs" / f"{name}.log"
            wait_until("the trap", lambda log=log: None if log.read_text() else "no output", seconds=10)  # type: ignore[misc]
        table.stop()
        assert note.read_text() == "second\nfirst\n"
        assert table.records() == []

    def test_deaf_process_is_killed_after_the_deadline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_TERMINATE_SECONDS", 0.2)
        table = self.started(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        log = tmp_path / "logs" / "0.log"
        wait_until("the trap", lambda: None if log.read_text() else "no output", seconds=10)
        (record,) = table.records()
        table.stop()
        assert not record.is_alive()

    def test_kept_process_runs_on(self, tmp_path: Path) -> None:
        table = self.started(tmp_path, "sleep 60", "sleep 60")
        table.stop(keep=frozenset({"0"}))
        assert [(record.name, record.is_alive()) for record in table.records()] == [("0", True)]
        table.stop()

    def test_ended_process_is_told_with_the_end_of_its_log(self, tmp_path: Path) -> None:
        table = self.started(tmp_path, "echo no such flag; exit 2")
        (record,) = table.records()
        wait_until("the end", lambda: "running" if record.is_alive() else None, seconds=10)
        with pytest.raises(ClusterError, match="no such flag"):
            table.check("0")


def hold_lock(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with exclusive(path, what="testing", seconds=1):
        held.set()
        time.sleep(60)


class TestLock:
    def test_held_lock_is_refused_at_the_deadline_and_free_when_its_holder_is_killed(self, tmp_path: Path) -> None:
        path = lock_path(tmp_path, "subject")
        context = multiprocessing.get_context("spawn")
        held = context.Event()
        holder = context.Process(target=hold_lock, args=(path, held))
        holder.start()
        try:
            assert held.wait(30)
            with pytest.raises(ClusterError, match=f"process {holder.pid} .*testing"):
                self.take(path, seconds=0.3)
            assert holder.pid is not None
            os.kill(holder.pid, signal.SIGKILL)
            self.take(path, seconds=10)
        finally:
            holder.kill()
            holder.join(10)
            holder.close()

    @staticmethod
    def take(path: Path, seconds: float) -> None:
        with exclusive(path, what="testing", seconds=seconds):
            pass

    def test_subjects_have_locks_of_their_own(self, tmp_path: Path) -> None:
        assert lock_path(tmp_path, "one") != lock_path(tmp_path, "two")


class TestSettings:
    def test_the_two_clusters_share_neither_state_nor_ports(self) -> None:
        ports = [
            {
                cluster.apiserver_port,
                cluster.etcd_port,
                cluster.etcd_peer_port,
                cluster.controller_manager_port,
                cluster.scheduler_port,
                cluster.kubelet_port,
                cluster.kubelet_health_port,
                cluster.proxy_health_port,
                cluster.proxy_metrics_port,
            }
            for cluster in (
                full_cluster({}),
                control_plane({}),
                control_plane({"HAMMERWORK_CONTROLPLANE_PORT": "18000"}),
            )
        ]
        assert len(set.union(*ports)) == 27
        assert full_cluster({}).state != control_plane({}).state

    def test_port_that_cannot_be_used(self) -> None:
        with pytest.raises(ClusterError, match="HAMMERWORK_CONTROLPLANE_PORT=http: must be a port from 1024"):
            control_plane({"HAMMERWORK_CONTROLPLANE_PORT": "http"})

    @pytest.mark.parametrize(("value", "kind"), [("", Kind.LOCAL), ("kind", Kind.KIND), ("current", Kind.CURRENT)])
    def test_kind_of_cluster(self, value: str, kind: Kind) -> None:
        assert chosen_kind({"CLUSTER": value}) is kind

    def test_unknown_kind_of_cluster(self) -> None:
        with pytest.raises(ClusterError, match="CLUSTER=minikube: must be one of local, kind, current"):
            chosen_kind({"CLUSTER": "minikube"})


def test_down_refuses_a_folder_that_is_not_a_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path / "cache"))
    cluster = replace(control_plane({}), state=tmp_path / "home")
    cluster.state.mkdir()
    (cluster.state / "letter").write_text("dear")
    monkeypatch.setattr(lifecycle, "_LONGEST_STATE_PATH", 1000)
    with pytest.raises(ClusterError, match="has files of something else"):
        lifecycle.down(cluster)
    assert (cluster.state / "letter").read_text() == "dear"


def test_wait_tells_what_it_saw_last() -> None:
    with pytest.raises(ClusterError, match=r"waited 0\.05 s for the moon; last seen: clouds"):
        wait_until("the moon", lambda: "clouds", seconds=0.05, interval=0.01)


def test_toml_reads_back_as_written() -> None:
    table = {"version": 2, "list": ["a", 'b"c\\'], "plugins": {"io.x": {"on": True, "deep": {"n": 1}}}, "none": {}}
    assert tomllib.loads(to_toml(table)) == {name: value for name, value in table.items() if name != "none"}


class TestRemovalOfChains:
    SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:CNI-OLD - [0:0]
:KUBE-SERVICES - [0:0]
:CNI-1f - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j DOCKER
-A PREROUTING -j CNI-OLD
-A KUBE-SERVICES -d 10.0.0.1/32 -j CNI-1f
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
"""

    def test_only_chains_of_the_cluster_go_and_jumps_to_them_first(self) -> None:
        assert removal_script(self.SAVED, frozenset({"CNI-OLD"})).splitlines() == [
            "*nat",
            '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
            "-F KUBE-SERVICES",
            "-F CNI-1f",
            "-X KUBE-SERVICES",
            "-X CNI-1f",
            "COMMIT",
        ]

    def test_nothing_to_remove(self) -> None:
        assert removal_script("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n") == ""


class TestArchives:
    def test_written_archive_names_its_image(self, tmp_path: Path) -> None:
        program = tmp_path / "pause"
        program.write_bytes(b"\x7fELF".ljust(18, b"\0") + (62).to_bytes(2, "little"))
        archive = tmp_path / "pause.tar"
        images.write_archive(archive, "localhost/hammerwork/pause:1", program)
        assert images.archive_names(archive) == ["localhost/hammerwork/pause:1"]

    def test_archive_with_a_short_name_is_refused(self, tmp_path: Path) -> None:
        program = tmp_path / "pause"
        program.write_bytes(b"\x7fELF".ljust(18, b"\0") + (62).to_bytes(2, "little"))
        archive = tmp_path / "pause.tar"
        images.write_archive(archive, "latest", program)
        with pytest.raises(ClusterError, match="give a full name"):
            images.archive_names(archive)

    def test_other_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "note").write_text("hello")
        with pytest.raises(ClusterError, match="not a tar file"):
            images.archive_names(tmp_path / "note")


def test_addresses_in_a_dns_answer() -> None:
    question = b"\x03web\x07example\x00" + b"\x00\x01\x00\x01"
    alias = b"\xc0\x0c" + b"\x00\x05\x00\x01" + b"\x00\x00\x00\x05" + b"\x00\x02" + b"\xc0\x10"
    address = b"\xc0\x10" + b"\x00\x01\x00\x01" + b"\x00\x00\x00\x05" + b"\x00\x04" + bytes([10, 196, 0, 1])
    header = b"\x00\x01\x81\x80" + b"\x00\x01" + b"\x00\x02" + b"\x00\x00\x00\x00"
    assert parse_addresses(header + question + alias + address) == ["10.196.0.1"]
