# A Ray node with clipflow's engine, head or worker. No Airflow.
#   docker build -f docker/ray.Dockerfile -t clipflow-ray .
#
# The base is plain Python and not rayproject/ray: that image brings its own pinned tree of packages, most of which
# constraints.txt would replace in a second layer. Here the image holds the versions that the tests ran with.
#
# For NVIDIA GPUs, not measured here: --build-arg TORCH_INDEX=https://pypi.org/simple
# takes PyPI's torch, whose CUDA libraries are wheels too; the host needs a driver and the NVIDIA Container Toolkit.
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
# Where torch comes from: this index has builds for CPUs only, a tenth of the size.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --uid 1000 --no-log-init --create-home ray \
    && mkdir -p /models /tmp/ray && chown ray:ray /models /tmp/ray
ENV HF_HOME=/models \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
RUN --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    --mount=type=bind,source=docker/install.sh,target=/build/install.sh \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" sh /build/install.sh ray /build/constraints.txt /wheels
USER 1000
WORKDIR /home/ray
EXPOSE 6379 8265
# Every node has an agent, and the agent knows its raylet.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen as ask; ask('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=8)"]
ENTRYPOINT ["ray"]
CMD ["--version"]
