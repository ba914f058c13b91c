"""The core: ``decide(snapshot, commands, now) -> outcomes, changeset``.

Pure: no I/O, clock, randomness, logging or SQL; the same arguments give the same bytes. Invariants: the snapshot is
left as it was; what is due expires first, then renews; commands are decided in order, each seeing what those before
it did; a command that is refused leaves nothing behind.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from ledger.core import command as commands_
from ledger.core import (
    command_approvals,
    command_budgets,
    command_closing,
    command_corrections,
    command_history,
    command_outcomes,
    command_payables,
    command_policies,
    command_rates,
    command_reconciliations,
    command_redactions,
    command_signing,
    command_webhooks,
)
from ledger.core import deciding_adjustments as adjustments
from ledger.core import deciding_approvals as approvals
from ledger.core import deciding_authorizations as authorizations
from ledger.core import deciding_budgets as budgets
from ledger.core import deciding_closing as closing
from ledger.core import deciding_corrections as corrections
from ledger.core import deciding_delegations as delegations
from ledger.core import deciding_extensions as extensions
from ledger.core import deciding_finance as finance
from ledger.core import deciding_history as history
from ledger.core import deciding_holds as holds
from ledger.core import deciding_keys as keys
from ledger.core import deciding_outcomes as outcomes_of_runs
from ledger.core import deciding_payables as payables
from ledger.core import deciding_payments as payments
from ledger.core import deciding_policies as policies
from ledger.core import deciding_rates as rates
from ledger.core import deciding_reconciliations as reconciliations
from ledger.core import deciding_redactions as redactions
from ledger.core import deciding_reprices as reprices
from ledger.core import deciding_reversals as reversals
from ledger.core import deciding_runs as runs
from ledger.core import deciding_setup as setup
from ledger.core import deciding_signing as signing
from ledger.core import deciding_unknown as unknown
from ledger.core import deciding_webhooks as webhooks
from ledger.core.changeset import Changeset
from ledger.core.command import Command
from ledger.core.merkle import Frontier
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import Refusal
from ledger.core.renewing import renew_due
from ledger.core.snapshot import CACHE_ENTRIES, Snapshot
from ledger.core.working import Batch


def _expire_due(batch: Batch, asked: commands_.ExpireDue) -> Outcome:
    """What is due has expired before any command; the outcome only says so."""
    return Outcome(Status.DONE)


DECIDERS: Final[dict[type[Command], Callable[[Batch, Any], Outcome]]] = {
    commands_.Authorize: authorizations.authorize,
    commands_.Settle: holds.settle,
    commands_.Extend: extensions.extend,
    commands_.Release: holds.release,
    commands_.MarkUnknown: unknown.mark_unknown,
    commands_.ExpireDue: _expire_due,
    commands_.Charge: finance.charge,
    commands_.Refund: finance.refund,
    commands_.Reprice: reprices.reprice,
    commands_.Adjust: adjustments.adjust,
    commands_.Allocate: finance.allocate,
    commands_.Deallocate: finance.deallocate,
    commands_.CreateAgent: setup.create_agent,
    commands_.FreezeAgent: setup.freeze_agent,
    commands_.CreateKey: keys.create_key,
    commands_.RotateKey: keys.rotate_key,
    commands_.RevokeKey: keys.revoke_key,
    commands_.CreateBudget: setup.create_budget,
    commands_.AssignBudget: setup.assign_budget,
    commands_.OpenRun: runs.open_run,
    command_outcomes.ReportOutcome: outcomes_of_runs.report_outcome,
    commands_.DefineUnit: setup.define_unit,
    commands_.AddName: setup.add_name,
    command_approvals.GrantApproval: approvals.grant_approval,
    command_approvals.RefuseApproval: approvals.refuse_approval,
    command_approvals.ForceApproval: approvals.force_approval,
    command_approvals.Delegate: delegations.delegate,
    command_approvals.RevokeDelegation: delegations.revoke_delegation,
    command_policies.ApplyPolicy: policies.apply_policy,
    command_policies.RetirePolicy: policies.retire_policy,
    command_budgets.SetRenewal: budgets.set_renewal,
    command_budgets.StopRenewal: budgets.stop_renewal,
    command_budgets.CloseBudget: budgets.close_budget,
    command_budgets.FreezeBudget: budgets.freeze_budget,
    command_budgets.FreezeBook: budgets.freeze_book,
    command_webhooks.RegisterWebhook: webhooks.register_webhook,
    command_webhooks.RotateWebhook: webhooks.rotate_webhook,
    command_webhooks.RemoveWebhook: webhooks.remove_webhook,
    command_signing.AdoptSigningKey: signing.adopt_signing_key,
    command_redactions.Redact: redactions.redact,
    command_rates.GiveRates: rates.give_rates,
    command_corrections.Reverse: reversals.reverse,
    command_corrections.SetCorrectionRule: corrections.set_correction_rule,
    command_corrections.ApproveCorrection: corrections.approve_correction,
    command_corrections.RefuseCorrection: corrections.refuse_correction,
    command_corrections.WithdrawCorrection: corrections.withdraw_correction,
    command_closing.ClosePeriod: closing.close_period,
    command_closing.RequestReopening: closing.request_reopening,
    command_closing.ApproveReopening: closing.approve_reopening,
    command_closing.Explain: closing.explain,
    command_reconciliations.Reconcile: reconciliations.reconcile,
    command_history.TakeOver: history.take_over,
    command_payables.RecordInvoice: payables.record_invoice,
    command_payables.VoidInvoice: payables.void_invoice,
    command_payables.SetPayee: payables.set_payee,
    command_payables.RecordPayment: payments.record_payment,
    command_payables.ReversePayment: payments.reverse_payment,
}


def decide(snapshot: Snapshot, commands: Sequence[Command], now: int) -> tuple[list[Outcome], Changeset]:
    """Decide a batch at ``now`` (microseconds; taken as the last record's time where that is later).

    Every fact that ``needs.missing`` names must have been read. Returns one outcome per command, in order, and the
    changeset to be written in one transaction. Raises LookupError when a needed fact was not read (a bug).
    """
    batch = Batch(snapshot, now)
    for reference in snapshot.due:
        found = batch.authorization(reference)
        if found is not None and found.due_at is not None and found.due_at <= batch.now:
            holds.expire(batch, reference)
    renewed = renew_due(batch)
    outcomes = []
    for asked in commands:
        if not renewed and type(asked) is not commands_.ExpireDue:
            outcomes.append(Outcome(Status.EXPIRY_BACKLOG, detail="more budgets are due to renew first"))
            continue
        try:
            outcomes.append(DECIDERS[type(asked)](batch, asked))
        except Refusal as refusal:
            outcomes.append(Outcome(refusal.status, detail=refusal.detail, facts=refusal.facts))
    return outcomes, batch.changeset()


def accept(snapshot: Snapshot, changeset: Changeset) -> None:
    """Take a committed changeset over into the snapshot it was decided on, which then stands at the new head.

    The caller drops the snapshot instead when it does not know that the commit happened.
    """
    for kind, entities in changeset.touched.items():
        known = getattr(snapshot, kind)
        for key, entity in entities.items():
            known.put(key, entity)
    for row in changeset.touched.get("authorizations", {}).values():
        if row.due_at is not None and row.due_at < snapshot.next_due_at:
            snapshot.next_due_at = row.due_at
    for renewal in changeset.touched.get("renewals", {}).values():
        if renewal.next_at is not None and renewal.next_at < snapshot.next_renewal_at:
            snapshot.next_renewal_at = renewal.next_at
    if changeset.touches_settings:
        snapshot.ready.clear()
        snapshot.standings.clear()
        if changeset.touched.get("bindings"):
            snapshot.plans.clear()
    else:
        snapshot.standings.update(changeset.standings)
    snapshot.head = changeset.head
    snapshot.frontier = Frontier.from_bytes(changeset.head.size, changeset.head.frontier)
    tidy(snapshot)


def tidy(snapshot: Snapshot) -> None:
    """Bound what a snapshot remembers. To be called after every batch, also one that wrote nothing: what was looked
    for in vain is remembered too."""
    snapshot.due, snapshot.due_renewals = [], []
    snapshot.idempotency.clear()
    snapshot.open_children.clear()
    snapshot.open_invoices.clear()
    snapshot.invoice_numbers.clear()
    forgot = [known.trim() for known in snapshot.known()]
    if len(snapshot.plans) > CACHE_ENTRIES or len(snapshot.compiled) > CACHE_ENTRIES:
        snapshot.plans.clear()
        snapshot.compiled.clear()
    if any(forgot) or len(snapshot.ready) + len(snapshot.standings) > CACHE_ENTRIES:
        snapshot.ready.clear()
        snapshot.standings.clear()
