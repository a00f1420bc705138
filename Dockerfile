# The one image of Palisade: two static programs and nothing else. Without a container engine, `injector/image/build`
# makes the same, and says why the flags are these.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" CARGO_PROFILE_RELEASE_STRIP=symbols
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && cargo build --locked --profile release --target "$target" --package palisade --bin palisade \
    && cargo build --locked --profile sidecar --target "$target" --package palisade-proxy --bin palisade-proxy \
    && install -D --target-directory=/image "target/$target/release/palisade" "target/$target/sidecar/palisade-proxy"

FROM scratch
LABEL org.opencontainers.image.title="palisade" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/palisade"]
