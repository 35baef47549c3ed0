# The image of jobbie: the binary, both licences, nothing else.
#
#   docker build -t jobbie .
#   docker run -p 127.0.0.1:8080:8080 -v jobbie:/data jobbie
#
# In a container the server has to listen on more than loopback, so it needs an API key. JOBBIE_ADMIN_KEY names one, or better
# JOBBIE_ADMIN_KEY_FILE a mounted secret; without, the first start makes one, prints it once and keeps it in
# /data/initial-admin-key. --insecure-no-auth does without; the image does not say it for you.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin jobbie \
 && strip target/release/jobbie \
 && mkdir /empty

FROM debian:bookworm-slim
COPY LICENSE /usr/share/doc/jobbie/LICENSE
COPY enterprise/LICENSE /usr/share/doc/jobbie/LICENSE.enterprise
COPY --from=build /source/target/release/jobbie /usr/local/bin/jobbie
# A volume takes its owner from the directory that it covers.
COPY --from=build --chown=10001:10001 /empty /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENV JOBBIE_BIND=0.0.0.0:8080 \
    JOBBIE_DATA_DIR=/data
# Asks the server on its default address, which is loopback inside of the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["jobbie", "status", "--ready"]
# `docker stop` sends SIGTERM: the server stops taking calls, finishes what is under way and closes the log.
STOPSIGNAL SIGTERM
ENTRYPOINT ["jobbie"]
CMD ["server"]
LABEL org.opencontainers.image.title="jobbie" \
      org.opencontainers.image.description="A durable job broker in one binary" \
      org.opencontainers.image.licenses="Apache-2.0 AND BUSL-1.1"
