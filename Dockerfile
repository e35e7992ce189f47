# One image for all of Airflow's services: the lock, the DAGs and the package, nothing else.

FROM python:3.11.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1

ARG UV_VERSION=0.13.9
COPY requirements.txt /build/requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir uv==${UV_VERSION} \
    && /opt/venv/bin/uv pip install --python /opt/venv/bin/python \
        --require-hashes -r /build/requirements.txt


FROM python:3.11.13-slim-bookworm

# The folders exist before volumes are mounted on them, so that the volumes belong to the user.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/airflow --shell /usr/sbin/nologin redline \
    && install --directory --owner redline --group redline /var/lib/airflow /var/lib/redline

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/redline/plugins \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/var/lib/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/redline/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/redline/plugins \
    REDLINE_HOME=/var/lib/redline

COPY --from=build /opt/venv /opt/venv
COPY LICENSE /opt/redline/
COPY dbt_project /opt/redline/dbt_project
COPY expectations /opt/redline/expectations
COPY plugins /opt/redline/plugins
COPY dags /opt/redline/dags
RUN python -m compileall -q /opt/redline/plugins /opt/redline/dags /opt/redline/expectations

WORKDIR /opt/redline
USER redline
EXPOSE 8080
CMD ["airflow", "version"]
