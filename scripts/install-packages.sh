#!/bin/sh
# Installs the Debian packages that building, testing and the test cluster need. Run it again at any time: where all
# of them are there it only looks. Arguments are more packages, which not everybody needs. Starts no service, and leaves
# none enabled that was not there before.
set -eu

packages="
    buildah
    busybox-static
    ca-certificates
    conntrack
    containerd
    containernetworking-plugins
    debootstrap
    gcc
    git
    imagemagick
    iproute2
    iptables
    kmod
    libc6-dev
    make
    mariadb-server
    nodejs
    openssl
    postgresql
    procps
    runc
    $*
"

missing=""
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "install-packages: everything is installed"
    exit 0
fi

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "install-packages: missing:$missing; installing them needs root, and there is no sudo: run this as root" >&2
    exit 1
fi

# Debian starts a service as soon as it is installed, unless this policy says 101. The tests start their own servers,
# on their own ports. A policy that the machine has already is left as it is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
fi

echo "install-packages: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $missing

# containerd's unit would start at the next boot, beside the containerd that the test cluster runs for itself.
if command -v systemctl >/dev/null 2>&1; then
    for package in $missing; do
        case $package in
        containerd | mariadb-server | postgresql)
            service=${package%-server}
            $as_root systemctl disable --quiet "$service" 2>/dev/null || true
            ;;
        esac
    done
fi
