"""One module of routes for each resource; a route translates and decides nothing."""

from typing import Final

from api.routes import accounts, asking, finance_lists, health, log, money_moves, principals, setting_up, spending

ROUTERS: Final = (
    asking.router,
    spending.router,
    principals.router,
    setting_up.router,
    money_moves.router,
    finance_lists.router,
    accounts.router,
    log.router,
    health.router,
)
"""In the order of the OpenAPI document."""
