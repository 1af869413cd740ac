# Two stages: the first installs what the lock names, hash by hash; the second has the result and no tools to build with.
# Pinned by version; docs/operations.md says how to pin it by digest.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build

WORKDIR /src
RUN python -m venv /opt/ksefd
COPY requirements.lock ./
RUN /opt/ksefd/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary=:all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY workers ./workers
COPY sandbox ./sandbox
COPY schemas ./schemas
COPY invoicegen ./invoicegen
COPY benchmarks ./benchmarks
# setuptools and pip have done their work with this; nothing at run time needs them.
RUN /opt/ksefd/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/ksefd/bin/pip uninstall --yes setuptools pip


FROM ${PYTHON_IMAGE}

# A user of its own, with a name: PostgreSQL refuses to run as root, and asks who it runs as.
RUN groupadd --system --gid 10001 ksefd \
    && useradd --system --uid 10001 --gid ksefd --home-dir /data --no-create-home ksefd \
    && install --directory --owner ksefd --group ksefd --mode 0700 /data
COPY --from=build /opt/ksefd /opt/ksefd

ENV PATH=/opt/ksefd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KSEFD_DATA_DIR=/data \
    KSEFD_LOG_FORMAT=json

USER ksefd
WORKDIR /data
VOLUME /data
EXPOSE 8080
# SIGTERM ends it in order; give it at least 40 seconds (docker stop --time 40).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-m", "app.process.container_health"]

ENTRYPOINT ["ksefd"]
CMD ["serve", "--host", "0.0.0.0"]
