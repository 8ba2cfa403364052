"""Retries, results and notices of jobs; the files they leave behind."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a job may have besides a report."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("run", sa.BigInteger(), nullable=False, server_default="1"))
        jobs.add_column(sa.Column("plan", sa.String(length=64), nullable=True))
        jobs.add_column(sa.Column("result", sa.JSON(none_as_null=True), nullable=True))
        jobs.add_column(sa.Column("notices", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name"),
    )


def downgrade() -> None:
    """Drop it again; jobs, shards, events and reports stay."""
    op.drop_table("job_files")
    for column in ("notices", "result", "plan", "run"):
        op.drop_column("jobs", column)
