# The images of docker-compose.yml, which builds them. Both run as a user without rights, from locks of their own:
# no test tool and nothing of the local stack is in them.
FROM python:3.12-slim-bookworm AS bridge
RUN useradd --uid 50000 --gid 0 --create-home millrace
WORKDIR /opt/millrace
ENV PYTHONPATH=/opt/millrace:/opt/millrace/pipeline PYTHONUNBUFFERED=1
COPY requirements-bridge.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-bridge.txt && pip check
COPY pipeline pipeline
COPY sse_bridge sse_bridge
RUN python -m compileall -q pipeline sse_bridge
USER 50000
CMD ["gunicorn", "-c", "python:sse_bridge.gunicorn_conf"]

FROM bridge AS airflow
USER 0
# A volume that is mounted here takes the folder's owner.
RUN install --directory --owner=50000 --group=0 /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow
COPY requirements-airflow.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-airflow.txt && pip check
COPY dags dags
COPY plugins plugins
# The training functions that conf/training.yaml names.
COPY examples examples
RUN python -m compileall -q dags plugins examples
USER 50000
CMD ["airflow", "standalone"]
