//! What lines add to the sums of their days: added up here, since a database takes several times as long.

use std::collections::BTreeMap;

use super::entry::COUNTS;
use super::{Entry, Value};

/// What has sums of its own: a day's attempts of a client, by a route, at a target; those of probes apart.
type Group<'e> = (u64, &'e str, &'e str, &'e str, bool);

/// What a batch of lines adds to the sums of days, as [`schema::ADD`](super::schema::ADD) is to be given it, group by group.
pub fn sums<'e>(entries: &'e [Entry<'_>]) -> impl Iterator<Item = Vec<Value<'e>>> {
    let mut groups: BTreeMap<Group<'e>, [u64; COUNTS]> = BTreeMap::new();
    for entry in entries {
        let sums = groups.entry(entry.group()).or_default();
        for (sum, count) in sums.iter_mut().zip(entry.counts()) {
            *sum = sum.saturating_add(count);
        }
    }
    groups.into_iter().map(|((day, client, route, target, probe), sums)| {
        let of = [Value::number(day), Value::text(client), Value::text(route), Value::text(target)];
        of.into_iter().chain([Value::number(probe.into())]).chain(sums.map(Value::number)).collect()
    })
}
