#!/bin/sh
# Makes the database on the first start, then runs the server with the arguments that it was given.
# PGDATA is a folder inside the volume, not the volume itself, so that a rename can put the finished database in place.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?must be set: the password of the database user that is made on the first start}"
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}

    # Whole or absent: a start that is cut short leaves only this folder, and the next start begins again.
    unfinished="$PGDATA.unfinished"
    rm -rf "$unfinished"
    password_file=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" > "$password_file"
    initdb --pgdata="$unfinished" --username="$user" --pwfile="$password_file" \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    rm -f "$password_file"
    echo "host all all all scram-sha-256" >> "$unfinished/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -D "$unfinished" postgres > /dev/null
    fi
    mv -T "$unfinished" "$PGDATA"
fi

unset POSTGRES_PASSWORD
exec "$@" -c listen_addresses='*'
