# syntax=docker/dockerfile:1
# The image: one executable, linked statically; certificates of authorities, to verify backends with; two users.
# No shell, no library, no package. Built without the profile that scripts/dist takes.
#
#   docker build -t REGISTRY/genkan:0.1.0 .
#
# Built for the platform that builds it; --platform with an emulator builds for another. BuildKit is needed: it keeps
# the file capability of the executable when it copies it.

# As in Cargo.toml; a newer one will do.
ARG RUST_VERSION=1.92

FROM rust:${RUST_VERSION}-alpine AS build
# CMake and a C compiler for zlib-ng, Zstandard, mimalloc and ring; libcap has setcap.
RUN apk add --no-cache ca-certificates cmake g++ gcc libcap make musl-dev perl
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY annotations annotations
COPY policies policies
COPY routing routing
COPY proxy proxy
COPY controller controller
# A member of the workspace, so Cargo asks for it; nothing of it is built.
COPY e2e/Cargo.toml e2e/Cargo.toml
COPY e2e/src e2e/src
# Programs for musl are linked statically, unless they are told otherwise.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist -p genkan-controller \
    && install -D -m 0755 target/dist/genkan /image/genkan
# What the finished image is made of. The capability lets user 101 bind ports 80 and 443 where a runtime's sysctl does
# not: README.md of the chart, "Low ports". The names in /: what ingress-nginx's image calls its executables, so that
# commands in existing manifests find them; the program looks at the name that it is called by.
RUN setcap cap_net_bind_service=+ep /image/genkan \
    && setcap -v cap_net_bind_service=+ep /image/genkan \
    && ln -s genkan /image/wait-shutdown \
    && ln -s genkan /image/nginx-ingress-controller \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && printf 'root:x:0:0:root:/:/sbin/nologin\ngenkan:x:101:82:genkan:/:/sbin/nologin\n' > /image/etc/passwd \
    && printf 'root:x:0:\ngenkan:x:82:\n' > /image/etc/group \
    && install -d -m 1777 /image/tmp

FROM scratch
LABEL org.opencontainers.image.title="Genkan" \
      org.opencontainers.image.description="Ingress controller and reverse proxy for Kubernetes" \
      org.opencontainers.image.source="https://github.com/genkan-dev/genkan" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# Numbers, so that runAsNonRoot can be checked without the image's files.
USER 101:82
EXPOSE 80 443 8443 10254
ENV PATH=/
ENTRYPOINT ["/genkan"]
CMD ["--help"]
