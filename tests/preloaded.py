"""What the server of `tests.drivers` imports before it forks: the engine without a model, and the stub encoder."""

import warnings

import clipflow_stub  # noqa: F401

import clipflow.cli
import clipflow.engine.inline
import clipflow.forget.forget
import clipflow.migrate
import clipflow.pipeline
import clipflow.query.open
import clipflow.query.sql
import clipflow.rejudge
import clipflow.table.maintain
import clipflow.table.review  # noqa: F401

# No dataset is open here; the child that is about to run is the first to touch one.
warnings.filterwarnings("ignore", message="lance is not fork-safe")
