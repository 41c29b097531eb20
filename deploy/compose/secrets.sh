#!/bin/sh
# Draw the passwords of this composition into compose/secrets, once: sudo deploy/compose/secrets.sh. As root
# the files are given to the users of the containers that read them. Certificates are made by `blindproof ca`.
set -eu

cd "$(dirname "$0")"
umask 077
mkdir -p secrets
if [ -e secrets/postgres.password ]; then
    echo "secrets/postgres.password is there already: nothing was changed" >&2
    exit 1
fi
draw() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

draw >secrets/grafana.password
draw >secrets/postgres.password
cat >secrets/pg_service.conf <<END
[blindproof]
host=postgres
dbname=blindproof
user=blindproof
password=$(cat secrets/postgres.password)
END
if [ "$(id -u)" -eq 0 ]; then
    chown 10001:10001 secrets/pg_service.conf
    chown 472:472 secrets/grafana.password
fi
