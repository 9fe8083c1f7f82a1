//! An overview for people: the figures, and a line for each job.

use std::fmt;

use super::{Overview, Row};
use crate::backoff::rfc3339_of;
use crate::time::Millis;

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let all = counts.pending + counts.running + counts.done + counts.failed + counts.expired;
        writeln!(f, "{all} of {} jobs, {} of {} bytes", self.jobs_max, self.bytes, self.bytes_max)?;
        write!(f, "{} pending, {} running, {} done", counts.pending, counts.running, counts.done)?;
        writeln!(f, ", {} failed, {} expired", counts.failed, counts.expired)?;
        for (why, count) in &self.failed {
            writeln!(f, "{count} failed: {}", why.short())?;
        }
        if let Some(oldest) = self.oldest_ms {
            let next = self.next_run_ms.unwrap_or_default();
            writeln!(f, "the oldest waits for {oldest}; the next may be run in {next}")?;
        }
        for share in &self.clients {
            let name = share.client.as_deref().unwrap_or("(anybody)");
            writeln!(f, "client {name}: {} jobs, {} of them pending", share.jobs, share.pending)?;
        }
        if !self.jobs.is_empty() {
            writeln!(f)?;
        }
        self.jobs.iter().try_for_each(|row| row.tell(self, f))?;
        match self.next {
            Some(next) => writeln!(f, "There are more: --before {next}"),
            None => Ok(()),
        }
    }
}

impl Row {
    fn tell(&self, overview: &Overview, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.as_deref().unwrap_or("-");
        write!(f, "{}  {}  {:<7}  {client}  {}", rfc3339_of(self.at_ms), self.id, self.status, self.model)?;
        write!(f, ", run {} times", self.attempts)?;
        if let Some(why) = self.reason {
            write!(f, ": {}", why.short())?;
        }
        match self.due_ms.map(|due| overview.now_ms.until(due)) {
            Some(Millis::ZERO) => write!(f, ", due now")?,
            Some(wait) => write!(f, ", due in {wait}")?,
            None => {}
        }
        writeln!(f)
    }
}
