#!/bin/sh
# Install a wheel into a directory of its own: deploy/install.sh PREFIX WHEEL. The image and the systemd
# unit are both made this way. Everything beside the wheel comes from deploy/requirements.txt, each file
# by its hash; set PIP_FIND_LINKS and PIP_NO_INDEX=1 where there is no index.
set -eu

if [ "$#" -ne 2 ]; then
    echo "usage: deploy/install.sh PREFIX WHEEL" >&2
    exit 2
fi
prefix=$1
wheel=$2
requirements=$(dirname "$0")/requirements.txt

# An upgrade goes into another directory: a running server keeps the files that it was started from.
if [ -e "$prefix" ]; then
    echo "$prefix is there already: install into a new directory" >&2
    exit 1
fi
umask 022
"${PYTHON:-python3}" -m venv "$prefix"
pip() { "$prefix/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement "$requirements"
pip install --quiet --no-index --no-deps "$wheel"
pip check
"$prefix/bin/python" -P -c 'import server.main'
# Who gets in finds nothing that installs.
pip uninstall --quiet --yes setuptools pip
