# Operator and worker: one target for each. Build from the root of the source tree:
#   docker build -f images/python.Dockerfile --target operator -t localhost/hammerwork/operator:dev .
#   docker build -f images/python.Dockerfile --target worker -t localhost/hammerwork/worker:dev .
#
# Your own image starts from the worker; packages go into the same environment:
#   FROM localhost/hammerwork/worker:dev
#   USER 0
#   RUN pip install --no-cache-dir httpx
#   USER 65532:65532
#   COPY handlers.py /app/handlers/
#
# BASE_IMAGE is any image with Python 3.11 or later as `python3`, with venv and pip; see docs/images.md.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A name for the user: libraries ask for it, and for a home.
RUN echo "hammerwork:x:65532:65532::/tmp:/usr/sbin/nologin" >> /etc/passwd \
    && echo "hammerwork:x:65532:" >> /etc/group

# The wheel is built here, with a backend from hashed pins too, so that a container engine is all that a build needs.
FROM base AS backend
RUN python3 -m venv /opt/backend
COPY requirements/build.txt /build/requirements.txt
RUN /opt/backend/bin/python -m pip install --require-hashes --only-binary :all: -r /build/requirements.txt

FROM backend AS wheel
COPY pyproject.toml README.md LICENSE /source/
COPY hammerwork /source/hammerwork
COPY cli/hammerwork_cli /source/cli/hammerwork_cli
COPY operator/hammerwork_operator /source/operator/hammerwork_operator
COPY worker_image/hammerwork_worker /source/worker_image/hammerwork_worker
RUN cd /source && /opt/backend/bin/python -m hatchling build --target wheel --directory /wheel

# --root puts the files where they belong, but under /project, so that each target adds them as one small layer.
FROM base AS project
RUN python3 -m venv --without-pip /opt/hammerwork
COPY --from=wheel /wheel /wheel
RUN python3 -m pip --python /opt/hammerwork/bin/python install \
    --no-deps --no-index --no-warn-script-location --root /project /wheel/*.whl
COPY images/portable.py /build/portable.py
RUN python3 /build/portable.py /portable /project/opt/hammerwork/lib/python3*/site-packages

# In both targets, the layer with third-party packages is built anew only when a pin changes.
FROM base AS operator
# pip stays in the base image: the running operator has no use for it.
RUN python3 -m venv --without-pip /opt/hammerwork
COPY requirements/operator.txt /build/requirements.txt
RUN python3 -m pip --python /opt/hammerwork/bin/python install \
    --require-hashes --only-binary :all: -r /build/requirements.txt
LABEL org.opencontainers.image.title="Hammerwork operator" \
      org.opencontainers.image.description="Loads batches of jobs into a database and sizes the pools of their workers" \
      org.opencontainers.image.licenses="MIT"
COPY --from=project /project /
# Modules were compiled while installing; the file system may be read-only now.
ENV PATH=/opt/hammerwork/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["hammerwork-operator"]

FROM base AS packages
# pip stays in, for images built from the worker.
RUN python3 -m venv /opt/hammerwork
COPY requirements/worker.txt /build/requirements.txt
RUN python3 -m pip --python /opt/hammerwork/bin/python install \
    --require-hashes --only-binary :all: -r /build/requirements.txt

# A worker that needs nothing of the image around it, for containers of other images; still without our own packages.
FROM packages AS portable
COPY images/portable.py /build/portable.py
RUN /opt/hammerwork/bin/python /build/portable.py /opt/hammerwork-worker

FROM packages AS worker
LABEL org.opencontainers.image.title="Hammerwork worker" \
      org.opencontainers.image.description="Claims jobs of a queue and runs a handler for each" \
      org.opencontainers.image.licenses="MIT"
COPY --from=portable /opt/hammerwork-worker /opt/hammerwork-worker
COPY --from=project /project /
COPY --from=project /portable /opt/hammerwork-worker
ENV PATH=/opt/hammerwork/bin:$PATH PYTHONPATH=/app/handlers PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /app/handlers
EXPOSE 8080
ENTRYPOINT ["hammerwork-worker"]
