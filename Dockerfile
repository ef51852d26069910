# One command, two images: `runtime`, the default, for clusters and people; `action`, as root, for steps of GitHub's jobs.
ARG VERSION=0.1.0
ARG SOURCE=https://github.com/OWNER/REPO

# Dependabot raises tag and digest together. The digest is the index of all platforms.
FROM docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS base

FROM base AS build
WORKDIR /build
COPY requirements/serve.lock requirements/
# Scripts of the packages, those that activate the venv, and the packages' own tests have nobody to run them.
RUN python3 -m venv --without-pip /opt/alm-enrollments \
    && python3 -m pip --python /opt/alm-enrollments/bin/python3 install --quiet --no-cache-dir --no-compile \
        --require-hashes --no-deps --only-binary :all: --requirement requirements/serve.lock \
    && find /opt/alm-enrollments/bin -type f -delete \
    && find /opt/alm-enrollments/lib -type d \( -name tests -o -name benchmarks -o -name sboms \) -prune -exec rm -r {} +
COPY LICENSE ./
COPY schemas schemas/
COPY connector connector/
ARG VERSION
# By the metadata, whoever lists what is in the image finds the connector too.
RUN cp -R schemas connector/ \
    && mkdir --parents "metadata/alm_enrollments_connector-$VERSION.dist-info/licenses" \
    && cp LICENSE metadata/*/licenses/ \
    && printf '%s\n' 'Metadata-Version: 2.4' 'Name: alm-enrollments-connector' "Version: $VERSION" \
        'License-Expression: Apache-2.0' 'License-File: LICENSE' > "metadata/alm_enrollments_connector-$VERSION.dist-info/METADATA" \
    && cp -R connector metadata/* /opt/alm-enrollments/lib/python3*/site-packages/
# The base has none of its library's bytecode, and at run time nobody may write any. Here it is for every module that the
# connector imports, the two validators only when it needs them; as nothing changes any more, no source is compared with it.
RUN /opt/alm-enrollments/bin/python3 -I -B -c "import connector, jsonschema, jsonschema_rs, pkgutil, sys; \
        [__import__(module.name) for module in pkgutil.walk_packages(connector.__path__, 'connector.') if module.name[-7:] != 'parquet']; \
        print(*sorted({getattr(module, '__file__', None) or '' for module in sys.modules.values()}), sep='\n')" > imported \
    && /opt/alm-enrollments/bin/python3 -B -X pycache_prefix=/opt/alm-enrollments/bytecode \
        -m compileall -q --invalidation-mode unchecked-hash -i imported /opt/alm-enrollments/lib/python3*/site-packages/connector \
    && mkdir /work

FROM base AS action
ARG SOURCE
ARG VERSION
LABEL org.opencontainers.image.title="alm-enrollments" \
    org.opencontainers.image.description="Brings every enrollment of an Adobe Learning Manager learner, or says what is missing." \
    org.opencontainers.image.documentation="$SOURCE/blob/main/docs/CONTAINER.md" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="$SOURCE" \
    org.opencontainers.image.version="$VERSION"
COPY --from=build /opt/alm-enrollments /opt/alm-enrollments
# Isolated: neither a variable nor a file of the working directory gets in.
ENTRYPOINT ["/opt/alm-enrollments/bin/python3", "-I", "-X", "utf8", "-X", "pycache_prefix=/opt/alm-enrollments/bytecode", "-m", "connector"]

FROM action AS runtime
# An empty volume takes over whose folder it is mounted on.
COPY --from=build --chown=65532:65532 /work /work
WORKDIR /work
# By number: only so can a cluster see that it is not root.
USER 65532:65532
