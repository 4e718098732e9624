# The program with all that it needs to serve, read and ask; docs/docker.md says how to run it.
# Any Debian-like base with Python 3.11 or later and its module venv will do; docker/try takes one
# that is made on the spot.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS built
WORKDIR /build
RUN python3 -m venv /opt/ringserverstats
COPY requirements.lock requirements-geoip.lock ./
# The locks are complete: looking for dependencies beside them, pip would ask for other ones.
RUN /opt/ringserverstats/bin/pip install --no-cache-dir --no-deps --require-hashes \
    --only-binary :all: -r requirements.lock -r requirements-geoip.lock
COPY pyproject.toml README.md LICENSE ./
COPY docs/ringserverstats.1 docs/
COPY src src
# What builds it, and what only builds or tests others, stays out of the image.
RUN /opt/ringserverstats/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/ringserverstats/bin/pip uninstall -q -y \
        hatchling pathspec pluggy trove-classifiers setuptools pip \
    && find /opt/ringserverstats/lib -type d -path '*/site-packages/*' \
        \( -path '*/pyarrow/include' -o -path '*/pyarrow/tests' -o -path '*/numpy/*/tests' \) \
        -prune -exec rm -r {} +

FROM ${BASE}
LABEL org.opencontainers.image.title="ringserverstats" \
      org.opencontainers.image.description="Statistics of what a ringserver serves, from its usage logs" \
      org.opencontainers.image.licenses="GPL-3.0-or-later"
# The number is fixed: files in a volume belong to it, whatever image comes later.
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin ringserverstats \
    && install -d -m 0700 -o ringserverstats -g ringserverstats /data /data/config
COPY --from=built /opt/ringserverstats /opt/ringserverstats
COPY --chmod=755 docker/every /usr/local/bin/every
ENV PATH=/opt/ringserverstats/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATABASE_URI=duckdb:////data/statistics.duckdb \
    RINGSERVERSTATS_CONFIG_FOLDER=/data/config
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# By Python, as the image has no curl; past any proxy that the environment names.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["ringserverstats"]
CMD ["serve", "--host", "0.0.0.0"]
