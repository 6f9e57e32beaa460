# edge through TensorRT on a Jetson with JetPack 6 (Ubuntu 22.04, Python 3.10, CUDA 12.6, TensorRT 10.3); on the device:
#   docker build -f docker/jetpack6.Dockerfile -t edge:jetpack6 .
# The tag is that of the device: `head -1 /etc/nv_tegra_release`. TensorRT and CUDA's compiler are in the image; the
# driver comes from the device, by `runtime: nvidia`. Not built so far: docs/containers.md.
ARG L4T=r36.4.0
FROM nvcr.io/nvidia/l4t-jetpack:${L4T} AS build
# Versions are those of the image's release, whose archive keeps no older ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Without git's history here the version is given: --build-arg VERSION=0.2.0
ARG VERSION=0.1.dev0
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_EDGE_SEGMENTATION=$VERSION
# pycuda is compiled against the image's CUDA; TensorRT's own bindings are the system's.
RUN python3 -m venv --system-site-packages /opt/edge \
    && PATH=/usr/local/cuda/bin:$PATH /opt/edge/bin/pip install --no-cache-dir '.[serve,drives,sign,tensorrt]' \
    && /opt/edge/bin/python -c 'import tensorrt, pycuda; print(tensorrt.__version__, pycuda.VERSION_TEXT)'

FROM nvcr.io/nvidia/l4t-jetpack:${L4T}
RUN groupadd --gid 10001 edge \
    && useradd --no-log-init --uid 10001 --gid edge --no-create-home --shell /usr/sbin/nologin edge \
    && install -d -o edge -g edge -m 700 /cache /drives
COPY --from=build /opt/edge /opt/edge
COPY docker/edge.yaml /etc/edge/edge.yaml
# Plans go to /cache, recorded drives to /drives: the only folders that are written.
ENV PATH=/opt/edge/bin:$PATH XDG_CACHE_HOME=/cache PYTHONDONTWRITEBYTECODE=1
VOLUME ["/cache", "/drives"]
USER 10001:10001
# The first start builds the plan, which takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/readyz', timeout=4)"]
ENTRYPOINT ["edge"]
CMD ["serve", "--config", "/etc/edge/edge.yaml"]
