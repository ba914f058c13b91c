-- What the script pgbench_hold.sql needs: the least that a hold made of one transaction can do with.
-- :budgets is how many budgets there are; the amount of each is enough for any run.

CREATE TABLE bench_budgets (
    budget_id bigint PRIMARY KEY,
    available bigint NOT NULL CHECK (available >= 0),
    held bigint NOT NULL CHECK (held >= 0)
);

CREATE TABLE bench_holds (
    hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget_id bigint NOT NULL REFERENCES bench_budgets,
    amount bigint NOT NULL CHECK (amount > 0),
    idempotency_key uuid NOT NULL UNIQUE,
    state text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE bench_journal (
    journal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hold_id bigint NOT NULL,
    account text NOT NULL,
    debit bigint NOT NULL,
    credit bigint NOT NULL,
    recorded_at timestamptz NOT NULL
);
