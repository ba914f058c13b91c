"""An index by which the invoices in a state are listed.

Invariant: no row changes; the way back drops this index and no other.
"""

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("invoices_state", "invoices", ["book_id", "state", "created_index"], unique=False)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("invoices_state", table_name="invoices")
