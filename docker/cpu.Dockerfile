# edge on a CPU through OpenVINO, for amd64 and arm64:
#   docker build -f docker/cpu.Dockerfile -t edge .
#   docker buildx build -f docker/cpu.Dockerfile --platform linux/amd64,linux/arm64 -t edge .
# Any Debian or Ubuntu with Python 3.10 to 3.12 as `python`, its venv module and certificates: --build-arg BASE=...
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
COPY . .
# Without git's history here the version is given: --build-arg VERSION=0.2.0
ARG VERSION=0.1.dev0
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_EDGE_SEGMENTATION=$VERSION
RUN python -m venv /opt/edge \
    && /opt/edge/bin/pip install --no-cache-dir '.[serve,drives,sign]'

FROM ${BASE}
RUN groupadd --gid 10001 edge \
    && useradd --no-log-init --uid 10001 --gid edge --no-create-home --shell /usr/sbin/nologin edge \
    && install -d -o edge -g edge -m 700 /cache /drives
COPY --from=build /opt/edge /opt/edge
COPY docker/edge.yaml /etc/edge/edge.yaml
# Compiled models go to /cache, recorded drives to /drives: the only folders that are written.
ENV PATH=/opt/edge/bin:$PATH XDG_CACHE_HOME=/cache PYTHONDONTWRITEBYTECODE=1
VOLUME ["/cache", "/drives"]
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/readyz', timeout=4)"]
ENTRYPOINT ["edge"]
CMD ["serve", "--config", "/etc/edge/edge.yaml"]
