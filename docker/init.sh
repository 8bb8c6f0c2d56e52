#!/bin/sh
# Before Airflow's first start: its tables, the admin's password, the pool, the buckets. Doing it again changes nothing.
set -eu
airflow db migrate
airflow pools set clipflow_gpu "$GPU_SLOTS" "Ray jobs at once; deferred tasks hold their slot." --include-deferred

umask 077
python - <<'END'
import json
import os

import s3fs

with open(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"], "w", encoding="utf-8") as file:
    json.dump({"admin": os.environ["ADMIN_PASSWORD"]}, file)
store = s3fs.S3FileSystem()
for bucket in os.environ["BUCKETS"].split():
    if not store.exists(bucket):
        store.mkdir(bucket)
    print("bucket", bucket)
END
