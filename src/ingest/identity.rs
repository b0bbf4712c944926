//! Whose a delivery is, and what events of connections do to them. No I/O: rows come in, changed rows go out.
//!
//! Events are applied in their total order, and an event older than what set a connection's state leaves it alone, so the
//! end does not depend on the order of arrival.

use crate::model::Instant;
use crate::store::connections::ConnectionState;
use crate::store::raw::RawDelivery;
use crate::terra::{Event, EventKind, TerraUser};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// One event as far as it concerns connections.
struct Step {
    order: (i64, String),
    received_at: Instant,
    kind: EventKind,
    user: TerraUser,
    old_user: Option<TerraUser>,
    reason: Option<String>,
}

/// The connections of a batch.
pub(super) struct Identities {
    steps: Vec<Step>,
    rows: Vec<ConnectionState>,
    before: Vec<ConnectionState>,
    merged: Vec<Uuid>,
    found: BTreeSet<String>,
    persons: BTreeSet<String>,
}

impl Identities {
    /// Collects what a batch's events say about connections.
    pub(super) fn new<'e>(events: impl Iterator<Item = (&'e RawDelivery, &'e Event)>) -> Self {
        let mut steps: Vec<Step> = events
            .filter_map(|(delivery, event)| {
                Some(Step {
                    order: (delivery.ordering_ms, delivery.trace_id.clone()),
                    received_at: delivery.created_at,
                    kind: event.kind.clone(),
                    user: event.user.clone()?,
                    old_user: event.old_user.clone(),
                    reason: event.reason.clone(),
                })
            })
            .collect();
        steps.sort_by(|a, b| a.order.cmp(&b.order));
        let persons = steps.iter().filter_map(|step| step.user.reference_id.clone()).collect();
        Self { steps, rows: Vec::new(), before: Vec::new(), merged: Vec::new(), found: BTreeSet::new(), persons }
    }

    /// Terra's ids in the batch with their providers, each once, in order.
    pub(super) fn wanted(&self) -> Vec<(String, String)> {
        let users = self.steps.iter().filter(|step| concerns(&step.kind)).flat_map(|step| step.old_user.iter().chain([&step.user]));
        let ids: BTreeMap<String, String> =
            users.filter_map(|user| Some((user.user_id.clone()?, user.provider.as_str().to_owned()))).collect();
        ids.into_iter().collect()
    }

    /// Takes the locked rows and applies the batch's events to them.
    pub(super) fn learn(&mut self, rows: Vec<ConnectionState>) {
        self.before.clone_from(&rows);
        self.rows = rows;
        for step in std::mem::take(&mut self.steps) {
            if concerns(&step.kind) {
                self.apply(step);
            }
        }
        self.persons.extend(self.rows.iter().filter_map(|row| row.user_id.clone()));
    }

    /// Whose an event is: the reference it carries, else whoever is behind its connection.
    pub(super) fn user_of(&self, user: Option<&TerraUser>) -> Option<String> {
        let user = user?;
        user.reference_id.clone().or_else(|| self.rows.get(self.find(user.user_id.as_deref()?)?)?.user_id.clone())
    }

    /// Everybody in the batch, in order.
    pub(super) fn persons(&self) -> Vec<String> {
        self.persons.iter().cloned().collect()
    }

    /// Rows that are different now, and the ids of those that became part of another.
    pub(super) fn changes(&self) -> (Vec<&ConnectionState>, Vec<Uuid>) {
        let changed = self.rows.iter().filter(|row| !self.before.contains(row)).collect();
        (changed, self.merged.clone())
    }

    /// Terra's ids whose earlier deliveries can now be given to a person, with that person.
    pub(super) fn found(&self) -> Vec<(String, String)> {
        let owner = |id: &String| self.find(id).and_then(|index| self.rows.get(index)).and_then(|row| row.user_id.clone());
        self.found.iter().filter_map(|id| Some((id.clone(), owner(id)?))).collect()
    }

    /// The row of an id, present or former.
    fn find(&self, id: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.terra_user_id == id || row.former_ids.iter().any(|former| former == id))
    }

    fn apply(&mut self, step: Step) {
        let Some(index) = step.user.user_id.as_deref().and_then(|id| self.find(id)) else { return };
        let index = match (&step.kind, step.old_user.as_ref().and_then(|old| old.user_id.as_deref())) {
            (EventKind::UserReauth, Some(old)) => self.swap(old, index),
            _ => index,
        };
        let Some(row) = self.rows.get_mut(index) else { return };
        if row.provider == "unknown" {
            step.user.provider.as_str().clone_into(&mut row.provider);
        }
        // An id that was replaced speaks for nobody's present state.
        let present = step.user.user_id.as_deref() == Some(row.terra_user_id.as_str());
        let newer = present && (step.order.0, step.order.1.as_str()) >= (row.state_ordering_ms, row.state_trace_id.as_str());
        let says_who = matches!(step.kind, EventKind::Auth | EventKind::UserReauth);
        if let Some(reference) = &step.user.reference_id
            && (row.user_id.is_none() || (says_who && newer && row.user_id.as_ref() != Some(reference)))
        {
            row.user_id = Some(reference.clone());
            self.found.extend(row.former_ids.iter().chain([&row.terra_user_id]).cloned());
        }
        if let EventKind::Data(_) = step.kind {
            row.last_data_at = row.last_data_at.max(Some(step.received_at));
            // Data that are newer than an error show that it has passed.
            if newer && row.state == "error" {
                set_state(row, "active", None, &step);
            }
        } else if let Some(state) = state_after(&step).filter(|_| newer) {
            if says_who || step.kind == EventKind::PermissionChange {
                row.scopes = step.user.scopes.clone().or_else(|| row.scopes.take());
            }
            let reason = step.reason.clone().filter(|_| !matches!(state, "active" | "reauthorised"));
            set_state(row, state, reason, &step);
        }
    }

    /// Puts the new id on the old connection's row, so that history stays on it, and returns the row's place.
    fn swap(&mut self, old: &str, new_index: usize) -> usize {
        let Some(old_index) = self.find(old).filter(|index| *index != new_index) else { return new_index };
        let new = self.rows.swap_remove(new_index);
        // The last row took the removed one's place.
        let old_index = if old_index == self.rows.len() { new_index } else { old_index };
        let Some(row) = self.rows.get_mut(old_index) else { return old_index };
        let replaced = std::mem::replace(&mut row.terra_user_id, new.terra_user_id.clone());
        row.former_ids.push(replaced);
        row.former_ids.extend(new.former_ids);
        row.former_ids.sort_unstable();
        row.former_ids.dedup();
        // The old id's state ended with it.
        (row.state, row.state_at, row.reason) = (new.state, new.state_at, new.reason);
        (row.state_ordering_ms, row.state_trace_id) = (new.state_ordering_ms, new.state_trace_id);
        row.scopes = new.scopes.or_else(|| row.scopes.take());
        row.last_data_at = row.last_data_at.max(new.last_data_at);
        row.user_id = row.user_id.take().or(new.user_id);
        if row.user_id.is_some() {
            self.found.extend(row.former_ids.iter().chain([&row.terra_user_id]).cloned());
        }
        self.merged.push(new.id);
        old_index
    }
}

/// Whether a kind says anything about its connection.
fn concerns(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Data(_)
            | EventKind::Auth
            | EventKind::Deauth
            | EventKind::UserReauth
            | EventKind::AccessRevoked
            | EventKind::ConnectionError
            | EventKind::PermissionChange
    )
}

/// The newest event alone decides, whatever the state was before: so the end does not depend on the order of arrival.
fn state_after(step: &Step) -> Option<&'static str> {
    match step.kind {
        EventKind::Auth => Some("active"),
        EventKind::UserReauth => Some("reauthorised"),
        EventKind::PermissionChange => (step.user.active != Some(false)).then_some("active"),
        EventKind::Deauth => Some("deauthorised"),
        EventKind::AccessRevoked => Some("revoked"),
        EventKind::ConnectionError => Some("error"),
        _ => None,
    }
}

fn set_state(row: &mut ConnectionState, state: &str, reason: Option<String>, step: &Step) {
    state.clone_into(&mut row.state);
    row.reason = reason;
    row.state_ordering_ms = step.order.0;
    row.state_trace_id.clone_from(&step.order.1);
    row.state_at = step.received_at;
}
