#!/usr/bin/env bash
# Does the stack work? Wait until it is healthy, upload drawn pictures, embed them by a DAG run, ask the table.
# Exit 0 only when every row that should be there is there. Needs the stack's images and docker/.env.
set -euo pipefail
cd "$(dirname "$0")"
compose=(docker compose -f compose.yaml)
name="smoke-$(date -u +%Y%m%dT%H%M%SZ)"
images="s3://uploads/$name/"
table="s3://lake/$name.lance"

echo "Waiting for the services to be healthy"
"${compose[@]}" up --detach --wait --wait-timeout 600

echo "Drawing pictures and uploading them to $images"
read -r files broken < <("${compose[@]}" exec -T ray-head python - "$images" <smoke_upload.py)
echo "$files files, $broken of them broken on purpose"

echo "Triggering clip_embed_on_demand"
"${compose[@]}" exec -T airflow-api python - "$name" "$images" "$table" <smoke_run.py

count() {
    "${compose[@]}" exec -T ray-head clipflow sql --json "$table" "select count(*) as n from images where $1" | tr -dc 0-9
}
echo "Rows of $table"
"${compose[@]}" exec -T ray-head clipflow sql "$table" "select status, count(*) as images from images group by all"
embedded=$(count "status <> 'failed'")
failed=$(count "status = 'failed'")
if [[ $((embedded + failed)) != "$files" || $failed != "$broken" ]]; then
    echo "smoke.sh: $files files went in, $broken of them broken; $embedded embedded and $failed failed came out." >&2
    exit 1
fi
echo "The stack works: $embedded embedded and $failed failed of $files files, in $table"
