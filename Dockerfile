# The one image of Palisade: a static program and nothing else. Without a container engine, `injector/image/build`
# makes the same.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Naming the target keeps the flag away from build scripts and macros, which cannot be static.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=symbols \
       cargo build --locked --release --target "$target" --bin palisade \
    && install -D "target/$target/release/palisade" /image/palisade

FROM scratch
LABEL org.opencontainers.image.title="palisade" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/palisade"]
