#!/usr/bin/env bash
# Builds the images and writes each as an archive to build/images/, for clusters that load images without a registry.
#
#   scripts/build-images.sh                      all of them: operator worker postgresql examples, and those of single
#                                                examples: iban-check thumbnails receipts fractal-tiles
#   scripts/build-images.sh operator worker      only these
#
# Variables:
#   TAG             tag of the images (dev)
#   REGISTRY        what their names begin with (localhost/hammerwork)
#   CONTAINER_TOOL  docker, podman or buildah (docker where its engine answers, else buildah)
#   BASE_IMAGE      an image with Python 3.11 or later (docker, podman: the public one; buildah: one that is made from
#                   Debian packages on this machine, see docs/images.md)
#   DEBIAN_IMAGE    an image of Debian 12 (likewise)
#   GO_IMAGE        an image with Go (docker, podman: the public one; buildah: that of Debian, with this machine's Go)
#   ARCHIVES        false: write no archives
set -euo pipefail
cd "$(dirname "$0")/.."

# In this order: each may start from one before it.
IMAGES=(operator worker postgresql examples iban-check thumbnails receipts fractal-tiles)

TAG=${TAG:-dev}
REGISTRY=${REGISTRY:-localhost/hammerwork}
ARCHIVES=${ARCHIVES:-true}
OUTPUT=build/images
PYTHON=${PYTHON:-.venv/bin/python}

fail() {
    echo "build-images: $*" >&2
    exit 1
}

if [ -z "${CONTAINER_TOOL:-}" ]; then
    if command -v docker > /dev/null && docker info > /dev/null 2>&1; then
        CONTAINER_TOOL=docker
    elif command -v buildah > /dev/null; then
        CONTAINER_TOOL=buildah
    else
        fail "neither a Docker engine nor buildah is there; install one, or set CONTAINER_TOOL"
    fi
fi

case $CONTAINER_TOOL in
    docker | podman) ;;
    buildah)
        # Without an engine there is often no registry within reach either, so the bases come from Debian packages.
        if [ -z "${BASE_IMAGE:-}" ]; then
            BASE_IMAGE=$("$PYTHON" -m tests.cluster base-image python | tail -1)
        fi
        if [ -z "${DEBIAN_IMAGE:-}" ]; then
            DEBIAN_IMAGE=$("$PYTHON" -m tests.cluster base-image debian | tail -1)
        fi
        ;;
    *) fail "CONTAINER_TOOL=$CONTAINER_TOOL: must be docker, podman or buildah" ;;
esac

# build NAME BASE ARGUMENT...: BASE may be empty, for the default in the Dockerfile.
build() {
    local image=$REGISTRY/$1:$TAG base=$2
    shift 2
    local arguments=(--tag "$image")
    if [ -n "$base" ]; then
        arguments+=(--build-arg "BASE_IMAGE=$base")
    fi
    if [ "$CONTAINER_TOOL" = buildah ]; then
        # chroot: needs neither a runtime nor a network bridge, so it works inside a container too.
        buildah bud --quiet --layers --isolation chroot --format oci "${arguments[@]}" "$@" > /dev/null
    else
        "$CONTAINER_TOOL" build --quiet "${arguments[@]}" "$@" > /dev/null
    fi
}

image_id() {
    if [ "$CONTAINER_TOOL" = buildah ]; then
        buildah inspect --type image --format '{{.FromImageID}}' "$1"
    else
        "$CONTAINER_TOOL" image inspect --format '{{.Id}}' "$1"
    fi
}

# An archive is written again only when its image has changed: layers are 100 MB and more.
archive() {
    local name=$1 image=$REGISTRY/$1:$TAG id
    local file=$OUTPUT/$name.tar mark=$OUTPUT/$name.id
    id="$image $(image_id "$image")"
    if [ -f "$file" ] && [ "$(cat "$mark" 2> /dev/null)" = "$id" ]; then
        return
    fi
    rm -f "$mark" "$file.partial"
    if [ "$CONTAINER_TOOL" = buildah ]; then
        # Docker's format is the one that holds layers uncompressed, which is most of the time.
        buildah push --quiet "$image" "docker-archive:$file.partial:$image" > /dev/null
    else
        "$CONTAINER_TOOL" save --output "$file.partial" "$image"
    fi
    mv "$file.partial" "$file"
    echo "$id" > "$mark"
}

# Go comes from an image, else from this machine, together with what it has compiled before.
build_with_go() {
    local arguments=()
    if [ -n "${GO_IMAGE:-}" ]; then
        arguments=(--build-arg "GO_IMAGE=$GO_IMAGE")
    elif [ "$CONTAINER_TOOL" = buildah ]; then
        command -v go > /dev/null || fail "$1: there is no Go on this machine; install it, or set GO_IMAGE"
        mkdir -p "$(go env GOCACHE)"
        arguments=(--build-arg "GO_IMAGE=$DEBIAN_IMAGE"
            --volume "$(go env GOROOT):/usr/local/go:ro" --volume "$(go env GOCACHE):/root/.cache/go-build")
    fi
    build "$1" "" "${arguments[@]}" "examples/$1"
}

build_one() {
    local started=$SECONDS
    case $1 in
        operator | worker) build "$1" "${BASE_IMAGE:-}" --file images/python.Dockerfile --target "$1" . ;;
        postgresql) build postgresql "${DEBIAN_IMAGE:-}" --file images/postgresql/Dockerfile images/postgresql ;;
        examples) build examples "$REGISTRY/worker:$TAG" --file examples/Dockerfile . ;;
        iban-check) build "$1" "$REGISTRY/worker:$TAG" "examples/$1" ;;
        thumbnails | receipts) build "$1" "${DEBIAN_IMAGE:-}" "examples/$1" ;;
        fractal-tiles) build_with_go "$1" ;;
        *) fail "$1: no such image; there are ${IMAGES[*]}" ;;
    esac
    if [ "$ARCHIVES" = true ]; then
        archive "$1"
    fi
    echo "$REGISTRY/$1:$TAG: $((SECONDS - started)) s"
}

mkdir -p "$OUTPUT"
# Two builds at a time would write the same archives.
exec 9> "$OUTPUT/.lock"
flock --wait 1800 9 || fail "$OUTPUT/.lock: another build holds it for more than 30 minutes"

if [ $# -eq 0 ]; then
    set -- "${IMAGES[@]}"
fi
for name in "$@"; do
    build_one "$name"
done
