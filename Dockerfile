# The node in a container: docker build -t argonaut . && docker run --rm -v "$PWD/var:/app/var" --user "$(id -u)" argonaut
# `make run` fills var/ (market data, model); without it the node makes sample data, and the gate, having no model, blocks
# every entry.
FROM python:3.13.9-slim-bookworm

# LightGBM's wheel needs OpenMP, which slim images lack.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

COPY requirements/runtime.lock requirements/runtime.lock
RUN python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.lock

COPY strategies strategies
COPY actors actors
COPY catalog catalog
COPY trials trials
COPY research research
COPY node node
COPY config config

# Nobody may write bytecode later, so it is made here: a start takes a third of the time.
RUN python -m compileall -q strategies actors catalog trials research node

# The code stays root's: a node cannot change what it runs. Only var/ and the compiler's cache can be written.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp argonaut \
    && mkdir var \
    && chown argonaut var
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    ARGONAUT_JOURNAL_URL=sqlite:///var/demo/journal.sqlite
USER argonaut
VOLUME /app/var

# Healthy: the journal can be read. ARGONAUT_JOURNAL_URL must name the journal of the configuration that runs.
HEALTHCHECK --interval=60s --timeout=20s --start-period=180s --retries=3 CMD ["python", "-m", "node.journal", "counts"]

ENTRYPOINT ["python", "-m", "node.live"]
CMD ["--config", "config/demo.yaml"]
