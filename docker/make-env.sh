#!/bin/sh
# Write docker/.env from .env.example, with a random value for every secret that is empty there.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "make-env.sh: docker/.env is there already; remove it for new secrets." >&2
    exit 1
fi
umask 077
while IFS= read -r line; do
    case $line in
    AIRFLOW_FERNET_KEY=) echo "$line$(openssl rand -base64 32 | tr '+/' '-_')" ;;
    [A-Z]*=) echo "$line$(openssl rand -hex 32)" ;;
    *) echo "$line" ;;
    esac
done <.env.example >.env
echo "Wrote docker/.env. The admin's password is AIRFLOW_ADMIN_PASSWORD in it."
