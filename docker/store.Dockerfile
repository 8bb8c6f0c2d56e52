# An S3 store for trying the stack: SeaweedFS, the binary that the tests run against.
#   docker build -f docker/store.Dockerfile -t clipflow-store .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --no-log-init store && mkdir /data && chown store:store /data
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    --mount=type=bind,source=docker/install.sh,target=/build/install.sh \
    sh /build/install.sh store /build/constraints.txt
USER 1000
WORKDIR /data
EXPOSE 8333
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=4 \
    CMD ["python", "-c", "from urllib.request import urlopen as ask; ask('http://127.0.0.1:8333/healthz', timeout=4)"]
ENTRYPOINT ["weed"]
CMD ["version"]
