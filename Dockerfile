# docker build -t lockstep . && docker run --network host lockstep
# serves the sample scripts; docs/operation.md shows how to serve others.
FROM node:22-bookworm-slim AS packages
WORKDIR /src/scripts
COPY scripts/package.json scripts/package-lock.json scripts/.npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config cmake clang-22 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN dist/build.sh --package lockstep-engine --bin lockstep
COPY --from=packages /src/scripts/node_modules scripts/node_modules
RUN target/dist/lockstep bundle scripts

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates espeak-ng \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /srv/lockstep lockstep
COPY --from=build /src/target/dist/lockstep /usr/local/bin/lockstep
# The npm packages lie beside the binary, where projects without packages of their own find them.
COPY --from=build /src/scripts/.bundles /usr/local/share/lockstep/scripts/.bundles
COPY --chown=lockstep:lockstep demo/lockstep.toml /srv/lockstep/
COPY --chown=lockstep:lockstep scripts /srv/scripts
USER lockstep
WORKDIR /srv/lockstep
EXPOSE 5060/udp 5060/tcp 20000-29999/udp
# `calls` asks the engine's management interface on the container's own loopback, and fails when nobody answers.
HEALTHCHECK --interval=15s --timeout=3s --start-period=5s CMD ["lockstep", "calls", "--json", "--live", "--limit", "1"]
ENTRYPOINT ["lockstep"]
CMD ["serve", "/srv/lockstep"]
