"""The node's network: a bridge with the Pods on it, CNI's configuration, and the iptables chains left behind."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.machine import set_sysctl
from tests.cluster.settings import BRIDGE, GATEWAY, NETWORK_NAME, POD_CIDR, SERVICE_CIDR, Cluster

CNI_PROGRAMS = Path("/usr/lib/cni")
_TOOLS = ("iptables", "ip6tables")
_OUR_CHAINS = ("KUBE-", "CNI-")


def cni_folder(cluster: Cluster) -> Path:
    """The folder in which containerd finds the network's configuration."""
    return cluster.state / "cni" / "config"


def check_free() -> None:
    """Complain if the machine is already a Kubernetes node or its networks overlap ours.

    Raises:
        ClusterError: starting would disturb something that is not ours.
    """
    for tool in _TOOLS:
        foreign = [chain for chain in _chains(run([f"{tool}-save"]).stdout) if chain.startswith("KUBE-")]
        if foreign:
            raise ClusterError(
                f"{tool}: chain {foreign[0]} is there already, so another Kubernetes node runs on this machine; "
                "stop it, or use it with CLUSTER=current"
            )
    ours = [ipaddress.ip_network(POD_CIDR), ipaddress.ip_network(SERVICE_CIDR)]
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"]).stdout or "[]"):
        if route["dst"] == "default":
            continue
        network = ipaddress.ip_network(route["dst"], strict=False)
        if any(network.overlaps(own) for own in ours):
            raise ClusterError(f"route {route['dst']} via {route.get('dev')}: overlaps {POD_CIDR} or {SERVICE_CIDR}")


def create(cluster: Cluster) -> None:
    """Make the bridge with the gateway's address, and write CNI's configuration."""
    set_sysctl("net/ipv4/ip_forward", "1")
    if not Path("/proc/sys/net/bridge").exists():
        run(["modprobe", "br_netfilter"])
    # Else a Pod's answer to another Pod takes the short way over the bridge, past the translation of Service addresses.
    set_sysctl("net/bridge/bridge-nf-call-iptables", "1")
    prefix_length = POD_CIDR.partition("/")[2]
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{GATEWAY}/{prefix_length}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    # A machine without a default route would otherwise refuse Service addresses before kube-proxy's rules see them.
    run(["ip", "route", "add", SERVICE_CIDR, "dev", BRIDGE, "src", GATEWAY])
    folder = cni_folder(cluster)
    folder.mkdir(parents=True, exist_ok=True)
    chains = {chain for tool in _TOOLS for chain in _chains(run([f"{tool}-save"]).stdout)}
    _foreign_chains_file(cluster).write_text(json.dumps(sorted(chains)))
    (folder / "10-hammerwork.conflist").write_text(json.dumps(_cni_configuration(cluster), indent=2))


def _cni_configuration(cluster: Cluster) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(cluster.state / "cni" / "addresses"),
            "ranges": [[{"subnet": POD_CIDR, "gateway": GATEWAY}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": NETWORK_NAME, "plugins": [bridge, portmap]}


def _foreign_chains_file(cluster: Cluster) -> Path:
    return cluster.state / "cni" / "foreign-chains.json"


def remove(cluster: Cluster) -> None:
    """Remove the bridge, the Pods' links on it, and the chains of kube-proxy, kubelet and CNI."""
    if run(["ip", "link", "show", BRIDGE], check=False).returncode == 0:
        for link in json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE]).stdout or "[]"):
            # A link may go by itself just now, with the network namespace of its other end.
            run(["ip", "link", "delete", link["ifname"]], check=False)
        run(["ip", "link", "delete", BRIDGE])
    file = _foreign_chains_file(cluster)
    foreign = frozenset(json.loads(file.read_text())) if file.is_file() else frozenset()
    for tool in _TOOLS:
        script = removal_script(run([f"{tool}-save"]).stdout, foreign)
        if script:
            run([f"{tool}-restore", "--noflush"], stdin=script)


def parse_chains(saved: str) -> dict[str, list[str]]:
    """The chains by table in the output of iptables-save."""
    chains: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            chains[table] = []
        elif line.startswith(":"):
            chains[table].append(line[1:].split()[0])
    return chains


def _chains(saved: str) -> list[str]:
    return [chain for chains in parse_chains(saved).values() for chain in chains]


def removal_script(saved: str, foreign: frozenset[str] = frozenset()) -> str:
    """What iptables-restore must read to remove our chains from the given output of iptables-save.

    Ours are those of Kubernetes and CNI, but for those in `foreign`, which were there before the cluster.
    The rules that jump into our chains go first, then the chains' contents, then the chains: a chain that is
    referred to cannot be removed.
    """
    script: list[str] = []
    tables = parse_chains(saved)
    for table, chains in tables.items():
        ours = [chain for chain in chains if chain.startswith(_OUR_CHAINS) and chain not in foreign]
        if not ours:
            continue
        jumps = [
            f"-D {line.removeprefix('-A ')}"
            for line in _rules(saved, table)
            if line.split()[1] not in ours and _target(line) in ours
        ]
        flushes = [f"-F {chain}" for chain in ours]
        removals = [f"-X {chain}" for chain in ours]
        script += [f"*{table}", *jumps, *flushes, *removals, "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def _rules(saved: str, table: str) -> list[str]:
    found = []
    current = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            current = line[1:].strip()
        elif line.startswith("-A ") and current == table:
            found.append(line)
    return found


def _target(rule: str) -> str:
    words = rule.split()
    for flag in ("-j", "-g"):
        if flag in words:
            return words[words.index(flag) + 1]
    return ""
