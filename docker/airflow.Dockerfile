# Airflow with clipflow: all four processes run from this image. No torch, no Ray, no Lance.
#   docker build -f docker/airflow.Dockerfile -t clipflow-airflow .
#
# The base is plain Python and not apache/airflow: that image comes with some eighty providers pinned by Airflow's own
# constraints, which constraints.txt would half replace. Here the image holds the versions that the tests ran with.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

# Word for word the same in both Dockerfiles, so that the builder makes it once and both images hold one wheel.
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN pip install --quiet hatchling==1.33.0
COPY pyproject.toml README.md ./
COPY clipflow clipflow
COPY operators operators
RUN pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${PYTHON_IMAGE}
RUN useradd --uid 50000 --gid 0 --no-log-init --create-home --home-dir /opt/airflow airflow
ENV AIRFLOW_HOME=/opt/airflow \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1
RUN --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    --mount=type=bind,source=docker/install.sh,target=/build/install.sh \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    sh /build/install.sh airflow /build/constraints.txt /wheels
USER 50000
WORKDIR /opt/airflow
# The folders exist with their owner before volumes cover them. An airflow.cfg that exists is not written at the first
# start, so the root file system may be read-only: all settings are variables.
RUN mkdir -p auth dags logs && touch airflow.cfg
EXPOSE 8080
# For scheduler, triggerer and dag-processor. The api-server has no job of its own: compose.yaml asks its port.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["airflow", "jobs", "check", "--local"]
ENTRYPOINT ["airflow"]
CMD ["version"]
