"""One module of routes for each resource; a route translates and decides nothing."""

from typing import Final

from api.routes import (
    accounts,
    approvals,
    asking,
    budgets_life,
    checkpoints,
    corrections,
    finance_lists,
    health,
    history,
    journal,
    log,
    money_moves,
    payables,
    periods,
    policies,
    principals,
    proofs,
    reconciliations,
    redactions,
    reports,
    setting_up,
    spending,
    statements,
)
from api.routes import webhooks as webhook_routes

ROUTERS: Final = (
    asking.router,
    spending.router,
    principals.router,
    setting_up.router,
    policies.router,
    budgets_life.router,
    money_moves.router,
    finance_lists.router,
    corrections.router,
    payables.router,
    history.router,
    approvals.router,
    accounts.router,
    statements.router,
    reports.router,
    periods.router,
    reconciliations.router,
    journal.router,
    webhook_routes.router,
    log.router,
    checkpoints.router,
    proofs.router,
    redactions.router,
    health.router,
)
"""In the order of the OpenAPI document."""
