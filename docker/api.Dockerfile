# The API: the project without its engine extra, so without torch, and with what sends traces. Also runs the migrations.
# Build from the repository's root: docker build -f docker/api.Dockerfile .

FROM python:3.11.15-slim-bookworm AS build
RUN python -m venv /opt/venv
WORKDIR /srv/convpress
COPY docker/api.lock docker/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r docker/api.lock
COPY . .
# The lock file has all that it needs and builds with; nothing else is fetched.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . && /opt/venv/bin/pip check

FROM python:3.11.15-slim-bookworm
RUN useradd --system --uid 10001 convpress && install --directory --owner convpress /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/convpress /srv/convpress
WORKDIR /srv/convpress
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CONVPRESS_DATA_DIR=/data
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "--factory", "app.main:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-server-header", "--no-access-log", \
     "--no-proxy-headers", "--http", "h11", "--h11-max-incomplete-event-size", "65536", \
     "--timeout-graceful-shutdown", "5"]
