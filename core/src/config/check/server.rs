//! `[server]`, and whether an address may be listened on.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::clients::KEY_LENGTH_MIN;
use crate::config::Server;
use crate::config::reader::{Field, Refusal, Table};
use crate::config::values::{duration, integer, secret, size, text};
use crate::time::Millis;

const HOUR: Millis = Millis::from_secs(3600);
const BYTES: RangeInclusive<u64> = 1024..=(1 << 30);

/// Reads `[server]`; `anonymous` is whether anybody may call.
pub(super) fn read(root: &mut Table<'_>, anonymous: bool) -> Server {
    let base = Server::default();
    let read = root.table("server", &[], |server| Server {
        listen: server.read("listen", |field| listen(field, anonymous)).unwrap_or(base.listen),
        body_max: server.read("body_max", size(BYTES)).unwrap_or(base.body_max),
        reply_max: server.read("reply_max", size(BYTES)).unwrap_or(base.reply_max),
        request_head: server.read("request_head", duration(Millis(1)..=HOUR)).unwrap_or(base.request_head),
        keep_alive: server
            .read("keep_alive", duration(Millis::ZERO..=HOUR))
            .map_or(base.keep_alive, |every| (every > Millis::ZERO).then_some(every)),
        client_stall: server.read("client_stall", duration(Millis(1)..=HOUR)).unwrap_or(base.client_stall),
        connections_max: server.read("connections_max", integer(1..=1_000_000)).unwrap_or(base.connections_max),
        drain: server.read("drain", duration(Millis::ZERO..=HOUR)).unwrap_or(base.drain),
        records: server.read("records", integer(0..=100_000)).unwrap_or(base.records),
        admin_key: server.field("admin_key").and_then(|key| secret(&key, KEY_LENGTH_MIN)).map(|(_, key)| key),
    });
    read.unwrap_or_default()
}

fn listen(field: &Field<'_>, anonymous: bool) -> Result<String, Refusal> {
    let address = text(field)?;
    exposure(address, anonymous)?;
    Ok(address.to_owned())
}

/// Refuses an `address` that is not `host:port`, and one that others can reach while anybody may call.
pub(in crate::config) fn exposure(address: &str, anonymous: bool) -> Result<(), Refusal> {
    let parts = address.rsplit_once(':').filter(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
    let Some((host, _)) = parts else {
        return Err(Refusal::new("not an address", "Write host:port, such as \"127.0.0.1:8080\"."));
    };
    if anonymous && !is_loopback(host) {
        return Err(Refusal::new(
            "others can reach this address, and without client keys all of them could spend yours",
            "Add a [clients.NAME] table with a key, or listen on 127.0.0.1.",
        ));
    }
    Ok(())
}

/// Whether a colon may follow `host`: IPv6 has colons of its own, and so stands in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']),
    }
}

/// Whether only this machine can reach `host`. Of names, only `localhost` is known to be.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
