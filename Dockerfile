# Build:  docker build -t lunarbit-gateway .
# Run:    docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 3000:3000 -v lunarbit:/data \
#             -e API_KEY_ADMIN=... -e KEY_PEPPER=... lunarbit-gateway
# Make both once with `openssl rand -hex 24` and keep them: under another pepper no stored key works any more.
# With `server.tls_cert` set, give the container a health check of its own: the one below speaks plain HTTP.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The environment holds no pip and no .pth file: pip works on it from outside.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock requirements-build.lock ./
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
    && pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY providers providers
COPY routing routing
RUN python -m hatchling build -t wheel -d /dist \
    && pip --python /opt/venv/bin/python install --no-deps --no-index /dist/*.whl \
    && test -z "$(find /opt/venv -name '*.pth')"

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 lunarbit \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin lunarbit \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
# Owned by root, so the gateway can read its configuration and not change it.
COPY config config
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    APP_ENV=production \
    HOST=0.0.0.0 \
    PORT=3000 \
    GATEWAY_DATA_DIR=/data
USER 10001:10001
EXPOSE 3000
VOLUME ["/data"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=4)"]
CMD ["lunarbit", "serve"]
