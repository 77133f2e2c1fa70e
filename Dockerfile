# MyTSDB: the server and all of its tools in one small image.
#
#   docker build -t mytsdb:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/mytsdb:0.1.0 --push .
#   docker run --read-only --volume mytsdb:/data --publish 9090:9090 --publish 4317:4317 mytsdb:0.1.0
#
# Nothing here needs BuildKit: `docker build`, `buildah bud` and `podman build` give the same image. The final stage runs no
# command, so that only compiling is emulated where a platform is foreign. scripts/check-image.sh builds and tries it.

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# The memory allocator is C and is built with make.
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends make >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Line tables would be three quarters of the binaries.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols

# First the dependencies alone, against empty crates: this layer stays while only our own code changes.
COPY Cargo.toml Cargo.lock ./
COPY promql/Cargo.toml promql/
COPY storage/Cargo.toml storage/
COPY tools/Cargo.toml tools/
COPY deploy/image/ deploy/image/
RUN deploy/image/stub-crates.sh && deploy/image/build.sh

# Then the code. Files keep their times, so what cargo built from the empty crates must be told to be old.
COPY src/ src/
COPY promql/ promql/
COPY storage/ storage/
COPY tools/ tools/
COPY benches/ benches/
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && deploy/image/build.sh \
    && mkdir -p /image/bin /image/data \
    && find target/release -maxdepth 1 -type f -executable -exec mv -t /image/bin/ {} +

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MyTSDB" \
      org.opencontainers.image.description="An OTLP-native time series database server that answers PromQL, with its tools" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.documentation="README.md"
# For tools that send to an endpoint with a public certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/bin/ /usr/local/bin/
COPY --from=build --chown=10001:10001 /image/data/ /data/
USER 10001:10001
ENV MYTSDB_DATA_DIR=/data
WORKDIR /data
VOLUME ["/data"]
# Prometheus API and remote write; OTLP/gRPC, OTLP/HTTP; Arrow Flight; the REST API of GPUs where it is switched on.
EXPOSE 9090 4317 4318 8815 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["mytsdb", "health"]
ENTRYPOINT ["mytsdb"]
