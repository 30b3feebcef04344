#!/usr/bin/env bash
# The whole product on a real cluster: images, chart, examples, and a look at what came of them.
#
#   scripts/demo.sh         leaves everything running, to look around
#   scripts/demo.sh down    removes what it installed; the cluster stays (make cluster-down)
#
# Variables: CLUSTER (local, kind or current; see docs/test-cluster.md), NAMESPACE (hammerwork), TAG, REGISTRY
# (of the images, see scripts/build-images.sh), DEADLINE (seconds for the batches, 180).
set -euo pipefail
cd "$(dirname "$0")/.."

NAMESPACE=${NAMESPACE:-hammerwork}
TAG=${TAG:-dev}
REGISTRY=${REGISTRY:-localhost/hammerwork}
DEADLINE=${DEADLINE:-180}
PYTHON=${PYTHON:-.venv/bin/python}
RELEASE=hammerwork
STEPS=()

step() {
    printf '\n\033[1m==> %s\033[0m\n' "$*"
    step_name=$* step_started=$(date +%s.%N)
}

step_done() {
    STEPS+=("$(printf '%6.1f s  %s' "$(echo "$(date +%s.%N) $step_started" | awk '{print $1 - $2}')" "$step_name")")
}

fail() {
    echo "demo: $*" >&2
    exit 1
}

use_cluster() {
    local variables
    variables=$("$PYTHON" -m tests.cluster env) || fail "no cluster; see the message above"
    eval "$variables"
    command -v kubectl > /dev/null || fail "kubectl: not found on PATH"
    command -v helm > /dev/null || fail "helm: not found on PATH"
}

down() {
    use_cluster
    if ! kubectl get namespace "$NAMESPACE" > /dev/null 2>&1; then
        echo "namespace $NAMESPACE: not there"
        return
    fi
    # Batches first: their finalizers need the operator.
    kubectl --namespace "$NAMESPACE" delete --recursive --filename examples/ --ignore-not-found --timeout=60s
    helm --namespace "$NAMESPACE" uninstall "$RELEASE" --ignore-not-found --wait --timeout 60s
    kubectl delete namespace "$NAMESPACE" --timeout=120s
}

up() {
    step "Cluster"
    "$PYTHON" -m tests.cluster up --if-needed
    use_cluster
    step_done

    step "Images"
    if [ "${CLUSTER:-local}" != current ]; then
        scripts/build-images.sh
        "$PYTHON" -m tests.cluster load-image build/images/*.tar
    fi
    step_done

    # In the Pod's annotations it makes an upgrade roll the operator, also where the tag is the same as before.
    local image_id=${TAG}
    if [ -f build/images/operator.id ]; then
        image_id=$(tr -c 'A-Za-z0-9\n' '-' < build/images/operator.id)
    fi
    step "Helm chart: operator and PostgreSQL in the namespace $NAMESPACE"
    helm upgrade --install "$RELEASE" charts/hammerwork --namespace "$NAMESPACE" --create-namespace \
        --set "operator.image.repository=$REGISTRY/operator,operator.image.tag=$TAG" \
        --set "worker.image.repository=$REGISTRY/worker,worker.image.tag=$TAG" \
        --set "postgresql.image.repository=$REGISTRY/postgresql,postgresql.image.tag=$TAG" \
        --set postgresql.enabled=true,postgresql.persistence.enabled=false \
        --set-string "operator.podAnnotations.hammerwork\.io/image=$image_id" \
        --take-ownership --wait --timeout 180s > /dev/null
    kubectl --namespace "$NAMESPACE" get pods
    step_done

    step "Examples"
    # What an earlier demo left would only show its results.
    kubectl --namespace "$NAMESPACE" delete --recursive --filename examples/ --ignore-not-found --timeout=60s
    kubectl --namespace "$NAMESPACE" apply --recursive --filename examples/
    step_done

    step "Progress, until every batch is Complete"
    watch_batches
    step_done

    step "Mails in the mail server"
    kubectl get --raw "/api/v1/namespaces/$NAMESPACE/services/smtp:http/proxy/messages" | "$PYTHON" scripts/check_mails.py
    step_done

    printf '\nTime taken:\n'
    printf '  %s\n' "${STEPS[@]}"
    cat << TEXT

Look around:
  eval "\$($PYTHON -m tests.cluster env)"
  kubectl --namespace $NAMESPACE get jobbatches,workerpools,pods
  kubectl --namespace $NAMESPACE describe jobbatch welcome-emails
Remove it:
  scripts/demo.sh down
TEXT
}

# Shows each change of the batches as kubectl sees it, while waiting for the condition.
watch_batches() {
    local watcher status=0
    kubectl --namespace "$NAMESPACE" get jobbatches --watch &
    watcher=$!
    # shellcheck disable=SC2064 # the pid of now is meant
    trap "kill $watcher 2> /dev/null || true" EXIT
    kubectl --namespace "$NAMESPACE" wait --for=condition=Complete jobbatches --all --timeout="${DEADLINE}s" \
        > /dev/null || status=$?
    kill "$watcher" 2> /dev/null || true
    wait "$watcher" 2> /dev/null || true
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        kubectl --namespace "$NAMESPACE" get jobbatches,workerpools,pods || true
        kubectl --namespace "$NAMESPACE" logs "deployment/$RELEASE-operator" --tail=30 || true
        fail "the batches are not Complete after $DEADLINE s; see above what they are"
    fi
    echo
    kubectl --namespace "$NAMESPACE" get jobbatches --output wide
}

case ${1:-up} in
    up) up ;;
    down) down ;;
    *) fail "$1: must be up or down" ;;
esac
