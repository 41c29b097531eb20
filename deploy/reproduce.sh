#!/bin/sh
# Build the wheel of the last commit twice, from nothing, in two folders of different depth, and compare the
# bytes: deploy/reproduce.sh. Takes what two builds take, some minutes.
set -eu

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

for folder in first a/second; do
    mkdir -p "$scratch/$folder"
    git archive HEAD | tar -x -C "$scratch/$folder"
    (cd "$scratch/$folder" && deploy/wheel.sh "$scratch/wheels/$folder")
done
cmp "$scratch"/wheels/first/*.whl "$scratch"/wheels/a/second/*.whl
sha256sum "$scratch"/wheels/first/*.whl
