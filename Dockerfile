# All images of the project, one target each; `make image` gathers what they are made of and builds them.
#
# Wheels come from build/wheels (python -m pdscale_e2e.images), so no step needs the network. The libraries of a process
# are installed into a virtual environment without pip. Our own package lies beside it in a layer of its own, so that
# a change to the code moves half a megabyte and not the libraries. Bytecode is compiled here and never checked
# against the sources: images run with a read-only root.
#
# The stages are in the order of TARGETS in e2e/pdscale_e2e/images.py: older versions of podman build every stage in
# front of the one that was asked for.
ARG BASE_IMAGE=python:3.11-slim

# ---- What the other stages build with; nothing of it is shipped.
FROM ${BASE_IMAGE} AS build
ENV PIP="/pip/bin/pip --python /opt/pdscale/bin/python --quiet" \
    PIP_NO_INDEX=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    COMPILE="/opt/pdscale/bin/python -m compileall -q --invalidation-mode unchecked-hash"
RUN python -m venv /pip \
 && python -m venv --without-pip /opt/pdscale \
 && echo /opt/pdscale/app > "$(/opt/pdscale/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

# OWN names the folder of our own wheel: pdscale-compiled is the router's with COMPILED=1.
FROM build AS package
ARG OWN=pdscale
COPY build/wheels/${OWN} /wheels
RUN $PIP install --no-deps --target /opt/pdscale/app /wheels/*.whl \
 && rm -rf /opt/pdscale/app/bin \
 && $COMPILE /opt/pdscale/app

# ---- What our images run in: the base without pip and without what it could be brought back with.
# Official Python images carry no bytecode of the standard library, and a read-only root could not keep any.
FROM ${BASE_IMAGE} AS runtime
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
    /usr/lib/python3*/ensurepip /usr/share/python-wheels \
 && python -m compileall -q -x '/(tests?|lib2to3|idlelib|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/pdscale/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.licenses=Apache-2.0
USER 65532:65532

# ---- Router and emulator: an HTTP server and client, and metrics.
FROM build AS router-libraries
COPY build/wheels/router /wheels
RUN $PIP install /wheels/*.whl \
 && find /opt/pdscale/lib -type d -name tests -prune -exec rm -rf {} + \
 && $COMPILE /opt/pdscale/lib

FROM runtime AS router
COPY --from=router-libraries /opt/pdscale /opt/pdscale
COPY --from=package /opt/pdscale/app /opt/pdscale/app
ENTRYPOINT ["python", "-m", "pdscale.router"]

# The emulator's dependencies are the router's: no layer of its own.
FROM router AS emulator
ENTRYPOINT ["python", "-m", "pdscale.emulator"]

# ---- Operator. Tests of numpy, scipy and scikit-learn are tens of megabytes.
FROM build AS operator-libraries
COPY build/wheels/operator /wheels
RUN $PIP install /wheels/*.whl \
 && find /opt/pdscale/lib -type d -name tests -prune -exec rm -rf {} + \
 && $COMPILE /opt/pdscale/lib

FROM runtime AS operator
COPY --from=operator-libraries /opt/pdscale /opt/pdscale
COPY --from=package /opt/pdscale/app /opt/pdscale/app
ENTRYPOINT ["python", "-m", "pdscale"]
CMD ["operator"]

# ---- For tests on a cluster only.
FROM build AS bed
COPY e2e/pdscale_e2e /opt/pdscale/app/pdscale_e2e
RUN $COMPILE /opt/pdscale/app

FROM emulator AS e2e
COPY --from=bed /opt/pdscale/app /opt/pdscale/app
ENTRYPOINT ["python", "-m", "pdscale_e2e.dial_server"]

# The test bed's libraries are the router's; gRPC comes on top, beside our own packages.
FROM build AS gpu-plugin-libraries
COPY build/wheels/gpu-plugin /wheels
RUN $PIP install --target /opt/pdscale/app /wheels/*.whl \
 && rm -rf /opt/pdscale/app/bin \
 && $COMPILE /opt/pdscale/app

# The kubelet's folder of plugins belongs to root: the pod has to say runAsUser: 0.
FROM e2e AS gpu-plugin
COPY --from=gpu-plugin-libraries /opt/pdscale/app /opt/pdscale/app
ENTRYPOINT ["python", "-m", "pdscale_e2e.gpu_plugin"]

# The router with what it needs to be a gateway's endpoint picker, which weighs as much as all else of it together.
FROM build AS picker-libraries
COPY build/wheels/endpoint-picker /wheels
RUN $PIP install --target /opt/pdscale/app /wheels/*.whl \
 && rm -rf /opt/pdscale/app/bin /opt/pdscale/app/test \
 && $COMPILE /opt/pdscale/app

FROM router AS endpoint-picker
COPY --from=picker-libraries /opt/pdscale/app /opt/pdscale/app
ENTRYPOINT ["python", "-m", "pdscale.router"]

FROM scratch AS prometheus
COPY build/images/prometheus/prometheus /bin/prometheus
EXPOSE 9090
USER 65532:65532
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus", "--web.listen-address=:9090", "--scrape.discovery-reload-interval=1s"]
