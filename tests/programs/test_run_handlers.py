"""`hammerwork run` of pools whose handlers are a command, a process that stays, and a service."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from typing import TYPE_CHECKING

from tests.harness.manifests import as_file, jobbatch, workerpool
from tests.harness.observing import only_postgres

if TYPE_CHECKING:
    from tests.programs.place import Place

SCRIPT = """#!/bin/sh
read -r payload
echo "$1 $HAMMERWORK_JOB_INDEX $payload $(pwd)" >> ran.txt
"""
LINES = """
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    print("seen", job["index"], file=sys.stderr, flush=True)
    with open("streamed.txt", "a") as file:
        print(job["index"], file=file)
    print(json.dumps({"id": job["id"]}), flush=True)
"""


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(422 if self.headers["Hammerwork-Job-Index"] == "2" else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@only_postgres
def test_a_folder_may_have_handlers_of_each_kind(place: Place) -> None:
    folder = place.manifests
    (folder / "count.sh").write_text(SCRIPT)
    (folder / "count.sh").chmod(0o755)
    (folder / "lines.py").write_text(LINES)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handlers = {
        "exec": {"command": ["./count.sh", "{{ payload.n }}"]},
        "stream": {"command": [sys.executable, "lines.py"], "processes": 2},
        "http": {"url": f"http://127.0.0.1:{server.server_port}/jobs"},
    }
    generate = {"count": 3, "payload": {"n": "{{ index }}"}}
    documents = [
        document
        for kind, fields in handlers.items()
        for document in (
            jobbatch(kind, queue=kind, generate=generate),
            workerpool(kind, queue=kind, handler={kind: fields}),
        )
    ]
    (folder / "all.yaml").write_text(as_file(*documents))
    try:
        done = place.run("run", folder, "--output", "json")
    finally:
        server.shutdown()
        server.server_close()

    assert done.returncode == 1, done.stderr
    batches = {batch["queue"]: batch for batch in json.loads(done.stdout)["batches"]}
    assert {name: batch["completedJobs"] for name, batch in batches.items()} == {"exec": 3, "stream": 3, "http": 2}
    (failure,) = batches["http"]["errors"]
    assert (failure["type"], failure["message"]) == ("RequestFailed", "422 Unprocessable Entity")
    assert sorted((folder / "ran.txt").read_text().splitlines()) == [f'{n} {n} {{"n":{n}}} {folder}' for n in range(3)]
    assert sorted((folder / "streamed.txt").read_text().split()) == ["0", "1", "2"]
    assert done.stderr.count(": seen ") == 3
    place.assert_nothing_is_left()


@only_postgres
def test_a_command_that_is_not_there_is_told_before_anything_is_started(place: Place) -> None:
    documents = [
        jobbatch("work", queue="q", generate={"count": 1, "payload": 1}),
        workerpool("workers", queue="q", handler={"exec": {"command": ["./absent.sh"]}}),
    ]
    path = place.manifests / "work.yaml"
    path.write_text(as_file(*documents))
    done = place.run("run", path)
    assert done.returncode == 2
    assert (
        f"{path}: WorkerPool default/workers: spec.handler.exec.command: command './absent.sh': no file " in done.stderr
    )
    done = place.run("run", path, "--handler", "exec:true")
    assert done.returncode == 0, done.stderr
    place.assert_nothing_is_left()
