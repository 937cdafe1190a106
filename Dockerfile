# syntax=docker/dockerfile:1
# Enginehouse with the bundled llama.cpp and ONNX engines, for machines without a graphics processor.
#   docker build -t enginehouse .
#   docker run -p 8000:8000 -e API_KEY=… -v enginehouse:/var/lib/enginehouse enginehouse
# Dockerfile.cuda is the same on llama.cpp's CUDA image.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/enginehouse
WORKDIR /src
# What is pinned comes first, so that an edit of the source does not install it again. pip checks every hash.
COPY constraints-server.txt ./
RUN /opt/enginehouse/bin/pip install --require-hashes --requirement constraints-server.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/enginehouse/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
# The numbers are fixed, so that a volume's owner stays right and Kubernetes can see that it is not root.
RUN groupadd --gid 10001 enginehouse \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/enginehouse --create-home --shell /usr/sbin/nologin enginehouse \
    && install --directory --owner=10001 --group=10001 /app /app/models
COPY --from=build /opt/enginehouse /opt/enginehouse
# Settings are /app/enginehouse.yaml (or RouterModelCustom's /app/config.json), when one is mounted there.
ENV PATH=/opt/enginehouse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json \
    BASE_MODELS_PATH=/app/models \
    ENGINEHOUSE_DATA_DIR=/var/lib/enginehouse
WORKDIR /app
VOLUME ["/var/lib/enginehouse"]
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as ask; ask.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/ready', timeout=2)"]
ENTRYPOINT ["enginehouse"]
CMD ["serve"]
