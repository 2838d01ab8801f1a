# The keeper's image: a virtual environment from the hash-locked requirements and the package, nothing that compiles.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/keeper \
    && /opt/keeper/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock \
    && /opt/keeper/bin/pip uninstall --yes pip setuptools
# Other packages' tests are of no use here, and some bring keys along.
RUN find /opt/keeper/lib -type d \( -name tests -o -name test -o -name SelfTest \) -prune -exec rm -r {} +
COPY keeper /opt/keeper/lib/python3.11/site-packages/keeper
# Neither is the local market, whose keys everybody knows.
RUN rm -r /opt/keeper/lib/python3.11/site-packages/keeper/devnet \
    && /opt/keeper/bin/python -m compileall -q /opt/keeper/lib/python3.11/site-packages/keeper

# A local market for trying it out: the contracts compiled, and the scripts that deploy and move it.
FROM python:3.11-slim-bookworm AS devnet
# Debian keeps one version of a package at a time: a pinned one is gone with the next update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nodejs npm \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /srv
COPY contracts contracts
# Versions are pinned by contracts/package-lock.json.
# hadolint ignore=DL3016
RUN npm install --prefix contracts --no-save --ignore-scripts --no-fund --no-audit --loglevel=error
# Debian's Node.js is too old for npm to bring forge along.
COPY --from=ghcr.io/foundry-rs/foundry:v1.7.1 /usr/local/bin/forge /usr/local/bin/forge
WORKDIR /srv/contracts
RUN forge build --quiet --skip test
WORKDIR /srv
COPY --from=build /opt/keeper /opt/keeper
COPY keeper keeper
COPY scripts scripts
RUN useradd --uid 10001 --no-create-home keeper && mkdir -p /state && chown keeper /state
USER 10001
ENV PATH=/opt/keeper/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "scripts/devnet"]

FROM python:3.11-slim-bookworm AS keeper
# Nothing here needs to become somebody else: no program keeps its setuid bit.
RUN useradd --uid 10001 --no-create-home keeper \
    && mkdir -p /var/lib/keeper && chown keeper /var/lib/keeper \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/keeper /opt/keeper
USER 10001
WORKDIR /var/lib/keeper
ENV PATH=/opt/keeper/bin:$PATH PYTHONUNBUFFERED=1 KEEPER_CONFIG=/etc/keeper/keeper.toml
# Ready means: it may liquidate, and could at this moment. A token is not asked for.
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=2 \
    CMD ["python", "-m", "keeper.ops.healthcheck"]
# exec form: SIGTERM reaches the daemon itself.
ENTRYPOINT ["python", "-m", "keeper"]
CMD ["run"]
