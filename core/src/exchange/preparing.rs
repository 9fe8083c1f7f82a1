//! The request, written as a candidate takes it: takes time, and needs no gateway.

use std::sync::Arc;

use super::{Exchange, Ready, State};
use crate::config::TargetId;
use crate::dialect::chat::Stamp;
use crate::dialect::{Reader, Unfit, prepare};
use crate::route::Rejection;

impl Exchange {
    /// Writes the request for a candidate, or finds that it cannot be asked.
    pub(super) fn prepare(&mut self, index: usize) {
        self.state = State::Choosing;
        match self.write_for(index) {
            Ok(ready) => self.prepared = Some(ready),
            Err(Unfit::Unsupported(what)) => self.walk.spent.push((index, Rejection::Unsupported { what })),
            Err(Unfit::Bad(_)) if self.broken.is_some() => self.walk.spent.push((index, Rejection::NoRescue)),
            Err(Unfit::Bad(bad)) => self.refuse(&bad.into(), None),
        }
    }

    /// The request as a candidate takes it.
    pub(super) fn write_for(&self, index: usize) -> Result<Ready, Unfit> {
        let id = self.plan.candidates[index].target;
        let target = self.config.target(id);
        if self.weighs_tokens(id) {
            // Here, where the gateway is not held: reading all of a long conversation takes time.
            self.request.weight();
        }
        let vendor = &self.config.vendors[target.vendor.0];
        let request = self.asked();
        let prepared = prepare(request, vendor, target, self.plan.parameters)?;
        let reader = Reader::new(request, &prepared, vendor.dialect, &target.upstream, self.stamp(id));
        let reader = if self.plan.stream_cut.is_some() { reader.tracking() } else { reader };
        Ok(Ready { candidate: index, prepared, reader: Arc::new(reader) })
    }

    /// What the target's answer is marked with.
    fn stamp(&self, id: TargetId) -> Stamp {
        Stamp {
            request_id: self.request_id.clone(),
            at: self.started_at,
            price: self.config.price(id, self.now),
            wants_usage: self.request.wants_usage,
        }
    }
}
