# The worker: the project with its engine extra, and with what sends traces.
# Build from the repository's root: docker build -f docker/worker.Dockerfile .

FROM python:3.11.15-slim-bookworm AS build
# Another pip index for torch alone, such as the one of its small CPU builds. Its builds have hashes of their own:
# `make lock TORCH_INDEX=...` writes docker/index-torch.lock first.
ARG TORCH_INDEX=""
RUN python -m venv /opt/venv
WORKDIR /srv/convpress
# First and by itself: a change of the code does not fetch torch again.
COPY docker/*torch.lock docker/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -r "docker/${TORCH_INDEX:+index-}torch.lock"
COPY docker/worker.lock docker/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r docker/worker.lock
COPY . .
# The lock files have all that it needs and builds with; nothing else is fetched.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . && /opt/venv/bin/pip check

FROM python:3.11.15-slim-bookworm
RUN useradd --system --uid 10001 convpress && install --directory --owner convpress /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/convpress /srv/convpress
WORKDIR /srv/convpress
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CONVPRESS_DATA_DIR=/data \
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
USER 10001
# A worker that died is restarted; one that lives but cannot hear the broker shows here.
HEALTHCHECK --interval=30s --timeout=15s --start-period=20s \
    CMD ["python", "-c", "from app.queue.celery_client import check_broker; check_broker()"]
CMD ["convpress", "worker"]
