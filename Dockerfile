# The function's image. Its bases are named by digest: docs/image.md tells how to move to newer ones.

# glibc 2.31: what is linked against it starts on the base's 2.34.
ARG RUST=public.ecr.aws/docker/library/rust:1.95.0-slim-bullseye@sha256:d6e7f380ab67c852983ef6be2f80222f78f06c5cbf186a5470820b092a184c69
# Amazon Linux 2023 with Lambda's entry point and Runtime Interface Emulator.
ARG BASE=public.ecr.aws/lambda/provided:al2023@sha256:c6a2e7cb103884b785ebce3ce826c7cfd68e9843d8d5e6773a53e902ced83a19

FROM ${RUST} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src/engine/Cargo.toml src/engine/
COPY tests/fuzz/Cargo.toml tests/fuzz/
# The dependencies, in a layer of their own that stays until one of them changes: they take minutes.
RUN mkdir benches \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs src/engine/lib.rs benches/contention.rs benches/layers.rs benches/peer.rs \
 && cargo build --release --locked --no-default-features
COPY src src
COPY test_images test_images
# What was copied may be older than what was built of the empty files.
RUN touch src/main.rs src/lib.rs src/engine/lib.rs \
 && cargo build --release --locked --no-default-features \
 && install --mode=0755 target/release/moth-classifier /bootstrap

FROM ${BASE}
# First what changes least.
COPY --chmod=0644 model/model.json model/model.onnx /var/task/model/
ENV MODEL_DIR=/var/task/model
COPY --from=build /bootstrap /var/runtime/bootstrap
# The model is made ready to run, so that a start parses and packs nothing. An image that does not start, or whose
# model does not say what TensorFlow said, is never made.
RUN /var/runtime/bootstrap compile && /var/runtime/bootstrap classify --self-test
ARG REVISION=unknown
LABEL org.opencontainers.image.title="moth-classifier" \
      org.opencontainers.image.description="Classifies photos that arrive in S3 and counts each exactly once in DynamoDB" \
      org.opencontainers.image.revision="${REVISION}"
# The base's entry point takes the name of a handler; ours has but one.
CMD ["moth-classifier"]
