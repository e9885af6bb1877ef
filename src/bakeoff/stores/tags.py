"""The tag names that bakeoff writes and reads."""

from __future__ import annotations

from enum import StrEnum

SCHEMA_VERSION = "bakeoff.schema_version"
STAGE = "bakeoff.stage"
BACKBONE = "bakeoff.backbone"
STUDY_KEY_HASH = "bakeoff.study_key_hash"
STUDY_FAMILY_HASH = "bakeoff.study_family_hash"
TRIAL_KEY_HASH = "bakeoff.trial_key_hash"
STUDY_KEY_SCHEMA_VERSION = "bakeoff.study_key_schema_version"
DATA_FINGERPRINT = "bakeoff.data_fingerprint"
EVAL_FINGERPRINT = "bakeoff.eval_fingerprint"
OBJECTIVE_METRIC = "bakeoff.objective.metric"
OBJECTIVE_DIRECTION = "bakeoff.objective.direction"
REFIT_OF_TRIAL = "bakeoff.refit.of_trial_run_id"
ARTIFACT_AVAILABLE = "bakeoff.artifact.available"
CHECKPOINT_DIGEST = "bakeoff.checkpoint_digest"
BENCHMARK_KEY = "bakeoff.benchmark_key"
CONFIG_HASH = "bakeoff.config_hash"
LINEAGE_TRIAL = "bakeoff.lineage.trial_run_id"
LINEAGE_REFIT = "bakeoff.lineage.refit_run_id"
LINEAGE_SWEEP = "bakeoff.lineage.sweep_run_id"
HARDWARE = "bakeoff.hardware"
RUNTIME = "bakeoff.runtime"
SCENARIO = "bakeoff.scenario"
VALIDITY = "bakeoff.validity"
ATTEMPT = "bakeoff.attempt"
MEASURED_AT = "bakeoff.measured_at"
DECISION_DIGEST = "bakeoff.decision_digest"
BENCHMARK_KEYS = "bakeoff.benchmark_keys"
CANDIDATE_DIGEST = "bakeoff.candidate_digest"
NONCE = "bakeoff.nonce"
LEDGER_RUN = "bakeoff.ledger_run"
LEDGER_PARTS = "bakeoff.ledger_parts"
HEARTBEAT = "bakeoff.heartbeat"

PARENT_RUN_ID = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"

TAG_SCHEMA = "1"
CHECKPOINT_ARTIFACT = "checkpoint"


class Stage(StrEnum):
    """What a run stands for."""

    SWEEP = "hpo_sweep"
    TRIAL = "hpo_trial"
    FOLD = "hpo_fold"
    REFIT = "hpo_refit"
    BENCHMARK = "benchmark"
    DECISION = "decision"
    CLAIMS = "claims"
