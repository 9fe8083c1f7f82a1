//! How what is posted to an operator's webhook is marked: signed, if there is a key, so that whoever is told can tell it from
//! what anybody else might post there.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::queue::hex;
use crate::secret::Secret;

/// `sha256=` and the HMAC of the body in hexadecimal, as GitHub signs its webhooks.
const SIGNATURE: HeaderName = HeaderName::from_static("x-tidegate-signature");

/// The headers of a message with this body.
pub(crate) fn headers(key: Option<&Secret>, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    headers.extend(key.map(|key| (SIGNATURE, signature(key, body))));
    headers
}

fn signature(key: &Secret, body: &[u8]) -> HeaderValue {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
    let digest = mac.chain_update(body).finalize().into_bytes();
    HeaderValue::from_str(&format!("sha256={}", hex(&digest))).expect("digits can stand in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_standard_has_it() {
        // RFC 4231, test case 2.
        let signed = signature(&Secret::new("Jefe"), b"what do ya want for nothing?");
        assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
