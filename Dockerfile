# One image for the three services, the migrations and (in development) the simulators; the command says which.
# It holds no secret: those come from the environment or from files under /run/secrets.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /app

COPY requirements.lock ./
RUN pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock

RUN useradd --system --uid 10001 --user-group --no-create-home app && mkdir /data && chown app:app /data

COPY alembic.ini ./
COPY migrations ./migrations
COPY services ./services
COPY simulators ./simulators
# The base image holds no bytecode of Python's own library, and who runs here may not write any: without it, whatever the
# services load of it is compiled at each start, which takes as long again.
RUN python -m compileall -q migrations services simulators \
 && python -c "import migrations.runner, services.orchestrator.app, services.session.app, services.shipping.app"

USER 10001:10001
ENV HOST=0.0.0.0
CMD ["python", "-m", "services.orchestrator"]
