-- One hold in one transaction, as an application writes it without Bursar: take the money if there is
-- enough (the row lock orders concurrent holds; no row means refused, and pgbench then stops the client),
-- record the hold under its idempotency key, and journal both sides.
\set budget random(1, :budgets)
\set amount random(1, 50000)
BEGIN;
UPDATE bench_budgets SET available = available - :amount, held = held + :amount WHERE budget_id = :budget AND available >= :amount RETURNING available AS remaining \gset
INSERT INTO bench_holds (budget_id, amount, idempotency_key, state, expires_at) VALUES (:budget, :amount, gen_random_uuid(), 'held', now() + interval '10 minutes') RETURNING hold_id AS hold \gset
INSERT INTO bench_journal (hold_id, account, debit, credit, recorded_at) VALUES (:hold, 'available', :amount, 0, now()), (:hold, 'held', 0, :amount, now());
COMMIT;
