"""Starts the operator: `python -m hammerwork_operator`, configured by environment variables."""

from __future__ import annotations

import argparse
import os
import sys

from kubernetes.aio.config import ConfigException

from hammerwork.service import logs, loop
from hammerwork.service.environment import SettingError
from hammerwork_operator.api import names
from hammerwork_operator.config import Config
from hammerwork_operator.process import OperatorProcess

_HELP = f"""\
environment variables:
  {names.ENV_WATCH_NAMESPACES}    comma-separated namespaces to watch (default: all)
  {names.ENV_CLUSTER_ID}          tells this cluster from others on the same database (default: the uid of kube-system)
  {names.ENV_WORKER_IMAGE}        image of worker Pods whose pool names none (default: {Config.worker_image})
  {names.ENV_OPERATOR_PORT}       port of /healthz, /readyz and /metrics (default: {Config.port}; 0: any free one)
  {names.ENV_DATABASE_HOSTS}      comma-separated hosts that database URLs may name: names (* stands for anything),
                                 addresses, networks (default: any)
  {names.ENV_CERTIFICATES}        folder of certificates that database URLs may name (default: {Config.certificates})
  {names.ENV_ALLOW_QUERY_SOURCE}  true or false: whether JobBatches may have spec.query (default: false)
  {names.ENV_LOG_LEVEL}           DEBUG, INFO, WARNING or ERROR (default: {Config.log_level})
  {names.ENV_LOG_FORMAT}          text or json (default: {Config.log_format})
  KUBECONFIG                     which cluster (default: the one that the Pod runs in)

exit codes:
  0  stopped by a signal
  2  a variable is wrong, or no cluster is configured
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the operator until SIGTERM; return the exit code: 2 for a wrong configuration."""
    parser = argparse.ArgumentParser(
        prog="hammerwork-operator",
        description="Loads JobBatches into databases, shows their progress, runs WorkerPools and JobBatchSchedules.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    try:
        config = Config.from_environment(os.environ)
        logs.configure(config.log_level, config.log_format)
        loop.run(OperatorProcess(config).run())
    except (SettingError, ConfigException) as error:
        sys.stderr.write(f"hammerwork-operator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
