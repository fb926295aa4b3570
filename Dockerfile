# The function's container image. Its base images are pinned by digest. docs/image.md says how to update them.

# It has glibc 2.31. A binary that is linked with it starts on the base image's glibc 2.34.
ARG RUST=public.ecr.aws/docker/library/rust:1.95.0-slim-bullseye@sha256:d6e7f380ab67c852983ef6be2f80222f78f06c5cbf186a5470820b092a184c69
# Amazon Linux 2023 with Lambda's entry point and Runtime Interface Emulator.
ARG BASE=public.ecr.aws/lambda/provided:al2023@sha256:c6a2e7cb103884b785ebce3ce826c7cfd68e9843d8d5e6773a53e902ced83a19

FROM ${RUST} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src/engine/Cargo.toml src/engine/
COPY src/s3/Cargo.toml src/s3/
COPY tests/fuzz/Cargo.toml tests/fuzz/
COPY tests/loom/Cargo.toml tests/loom/
# Build the dependencies in a layer of their own, because they take minutes and rarely change.
RUN mkdir benches \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs src/engine/lib.rs src/s3/lib.rs benches/contention.rs benches/layers.rs benches/peer.rs \
 && cargo build --release --locked --package moth-classifier --no-default-features
COPY src src
COPY test_images test_images
# The copied files may be older than the build of the empty ones. cargo would then not rebuild them.
RUN touch src/main.rs src/lib.rs src/engine/lib.rs \
 && cargo build --release --locked --package moth-classifier --no-default-features \
 && install --mode=0755 target/release/moth-classifier /bootstrap

FROM ${BASE}
# The layer that changes least comes first.
COPY --chmod=0644 model/model.json model/model.onnx /var/task/model/
ENV MODEL_DIR=/var/task/model
COPY --from=build /bootstrap /var/runtime/bootstrap
# Compile the model, so that a start neither parses nor packs it. The build fails if the binary does not start, or if
# the model's answer differs from TensorFlow's.
RUN /var/runtime/bootstrap compile && /var/runtime/bootstrap classify --self-test
ARG REVISION=unknown
LABEL org.opencontainers.image.title="moth-classifier" \
      org.opencontainers.image.description="Classifies photos that arrive in S3 and counts each exactly once in DynamoDB" \
      org.opencontainers.image.revision="${REVISION}"
# Lambda, `docker run IMAGE serve`, SageMaker and `docker run IMAGE classify …` start the binary, which tells by
# AWS_LAMBDA_RUNTIME_API that it is the function. A container is reached from outside: `serve` needs API_KEYS, or --open.
ENV HOST=0.0.0.0
ENTRYPOINT ["/var/runtime/bootstrap"]
