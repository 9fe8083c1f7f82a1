//! Requests and replies where they are kept: encrypted, if the operator has given a key.
//!
//! Each is sealed by itself with XChaCha20-Poly1305 (RFC 8439, with the nonce drawn out to 24 bytes, which is enough for
//! drawing it at random). Whose it is and what it is are sealed along with it, so that whoever can write to the store cannot
//! pass one job's reply off as another's.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use std::fmt;

use super::hex;
use crate::secret::Secret;

const NONCE_BYTES: usize = 24;

/// A sealed body is longer than what is in it, by its nonce and its tag.
const MORE_BYTES: u64 = NONCE_BYTES as u64 + 16;

/// What a sealed body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Reply,
}

/// Seals bodies, and opens what it has sealed.
pub(super) struct Seal(XChaCha20Poly1305);

impl Seal {
    /// The operator's key may be text of any kind: what it is drawn from is long enough, which the config sees to.
    pub(super) fn new(key: &Secret) -> Self {
        let key = Sha256::new().chain_update(b"tidegate queue 1\0").chain_update(key.expose()).finalize();
        Self(XChaCha20Poly1305::new(&Key::from(<[u8; 32]>::from(key))))
    }

    /// How long so many bytes are when they are sealed.
    pub(super) fn sealed_len(plain: u64) -> u64 {
        plain.saturating_add(MORE_BYTES)
    }

    /// `random` must be used for nothing else.
    pub(super) fn seal(&self, random: &[u8; 32], id: &str, kind: Kind, plain: &[u8]) -> Vec<u8> {
        let nonce = &random[..NONCE_BYTES];
        let payload = Payload { msg: plain, aad: &bound_to(id, kind) };
        let sealed = self.0.encrypt(&nonce_of(nonce), payload).expect("no body is as large as the cipher bears");
        [nonce, &sealed].concat()
    }

    /// What was sealed; `None` if it was not with this key, for this job and as this.
    pub(super) fn open(&self, id: &str, kind: Kind, stored: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = stored.split_at_checked(NONCE_BYTES)?;
        self.0.decrypt(&nonce_of(nonce), Payload { msg: sealed, aad: &bound_to(id, kind) }).ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// Tells a job's request from others. Whoever has the store and not the operator's key cannot try out what it may have been.
pub(super) fn fingerprint(key: Option<&Secret>, id: &str, path: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [key.map_or("", Secret::expose).as_bytes(), id.as_bytes(), path.as_bytes(), body] {
        // With their lengths, so that no two lists of parts are the same bytes.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn nonce_of(bytes: &[u8]) -> XNonce {
    XNonce::from(<[u8; NONCE_BYTES]>::try_from(bytes).expect("it was cut to this length"))
}

fn bound_to(id: &str, kind: Kind) -> Vec<u8> {
    let kind: &[u8] = match kind {
        Kind::Request => b"request ",
        Kind::Reply => b"reply ",
    };
    [kind, id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_has_sealed_and_nothing_else() {
        let seal = Seal::new(&Secret::new("one key"));
        let sealed = seal.seal(&[7; 32], "job_1", Kind::Request, b"a prompt");
        assert_eq!(seal.open("job_1", Kind::Request, &sealed).unwrap(), b"a prompt");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"prompt"));
        assert_eq!(seal.open("job_2", Kind::Request, &sealed), None, "another job's");
        assert_eq!(seal.open("job_1", Kind::Reply, &sealed), None, "no reply");
        assert_eq!(Seal::new(&Secret::new("another key")).open("job_1", Kind::Request, &sealed), None);
        for at in 0..sealed.len() {
            let mut spoilt = sealed.clone();
            spoilt[at] ^= 1;
            assert_eq!(seal.open("job_1", Kind::Request, &spoilt), None);
            assert_eq!(seal.open("job_1", Kind::Request, &sealed[..at]), None);
        }
        assert_eq!(format!("{seal:?}"), "Seal(…)");
    }
}
