# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY inversefacenet inversefacenet
COPY services services
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[service]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home inversefacenet
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/inversefacenet
COPY model_repository model_repository
# numba keeps what it has compiled there, for the file system is read-only. The workers are the parallelism:
# threads within a face's small matrix products would only get in each other's way.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    OPENBLAS_NUM_THREADS=1 \
    IFN_HOST=0.0.0.0 \
    IFN_PORT=8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['IFN_PORT'] + '/v2/health/ready', timeout=5)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "services.gateway"]
