"""Register the networks and let the rules decide whether they are served."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from stpa.flows.watch import RETRIES, name_run, planned, watched
from stpa.registry.promotion import Decision
from stpa.stages.plan import Plan
from stpa.stages.promote import promote as run_promote


@task(**RETRIES, task_run_name="register-and-judge")
def promote_challenger(plan: Plan) -> Decision:
    """Run the promote stage."""
    with watched("register and judge") as progress:
        return run_promote(plan, progress)


@flow(name="promote", flow_run_name=name_run)
def promote(root: Path = Path()) -> Decision:
    """Compare the challenger with the champion; move the aliases if it passes every rule."""
    with planned(root) as plan:
        decision = promote_challenger(plan)
    create_table_artifact(
        [
            {"rule": verdict.rule, "passed": verdict.passed, "reason": verdict.reason}
            for verdict in decision.reasons
        ],
        key="promotion",
        description=decision.sentence,
    )
    return decision
