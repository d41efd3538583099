# syntax=docker/dockerfile:1
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
# What is installed changes seldom, the code often: the first layer is kept as long as the pins are.
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
RUN mkdir inversefacenet services \
    && touch inversefacenet/__init__.py services/__init__.py \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[service,triton,tracing]'
COPY inversefacenet inversefacenet
COPY services services
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home inversefacenet
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/inversefacenet
COPY model_repository model_repository
COPY deploy/healthcheck.py /usr/local/lib/healthcheck.py
# What numba compiles is compiled here, half a minute's work. All but /tmp may be read-only, and numba wants to
# write where it reads: at the start the code is copied there. A processor of another kind doesn't use it, and
# compiles its own.
COPY deploy/start.sh /usr/local/bin/start
RUN NUMBA_CACHE_DIR=/opt/numba OMP_NUM_THREADS=1 /opt/venv/bin/python -m inversefacenet.warm_up
# The workers are the parallelism: threads within a face's small matrix products get in each other's way.
#
# It listens to everybody who reaches the container, so it doesn't start before it is told who may use it
# (IFN_API_KEYS, or IFN_ANONYMOUS=true) and where TLS ends (IFN_TLS_CERTIFICATE, or IFN_PLAINTEXT=true).
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    IFN_HOST=0.0.0.0 \
    IFN_PORT=8000 \
    IFN_GRPC_PORT=50051
USER 10001
EXPOSE 8000 50051
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 \
    CMD ["python", "/usr/local/lib/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["start"]
CMD ["python", "-m", "services.gateway"]
