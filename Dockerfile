# syntax=docker/dockerfile:1
# Two images from one file. `docker build .` gives the CPU image, `docker build --target cuda .` the CUDA one.
# CUDA wheels of torch carry their own libraries, so neither needs a CUDA base image.

FROM python:3.11-slim-bookworm AS source
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/levelset/bin:$PATH
WORKDIR /src
RUN python -m venv /opt/levelset
COPY constraints.txt ./

FROM source AS build-cpu
# The small CPU wheels of the pinned torch pair; the install line below then finds them already there.
RUN pip install --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY ensemble ensemble
COPY attacks attacks
COPY service service
RUN pip install -c constraints.txt . && pip check

FROM source AS build-cuda
COPY pyproject.toml README.md LICENSE ./
COPY ensemble ensemble
COPY attacks attacks
COPY service service
RUN pip install -c constraints.txt . && pip check

FROM python:3.11-slim-bookworm AS runtime
# Home and every cache lie in the data volume, so the root file system can be mounted read-only.
ENV PATH=/opt/levelset/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LEVELSET_DATA=/data \
    LEVELSET_HOST=0.0.0.0 \
    LEVELSET_PORT=8000 \
    HOME=/data/home \
    XDG_CACHE_HOME=/data/cache \
    MPLCONFIGDIR=/data/cache/matplotlib \
    TORCH_HOME=/data/cache/torch
RUN groupadd --gid 10001 levelset \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data/home --shell /usr/sbin/nologin levelset \
    && install -d -o 10001 -g 10001 -m 0750 /data /data/home /data/cache /data/cache/matplotlib /data/cache/torch
WORKDIR /data
VOLUME ["/data"]
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["levelset"]
CMD ["serve"]

FROM runtime AS cuda
COPY --from=build-cuda /opt/levelset /opt/levelset

# The last stage is the default one.
FROM runtime AS cpu
COPY --from=build-cpu /opt/levelset /opt/levelset
