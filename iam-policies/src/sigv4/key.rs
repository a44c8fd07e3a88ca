//! Signing keys: derived by four HMACs, so kept.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::canonical::hex;

/// A derived signing key, as an HMAC that has absorbed it: cloning that is cheaper than keying again.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// HMAC-SHA256, whose keys have any length.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

impl SigningKey {
    /// Derives the key of a secret for a date (`YYYYMMDD`), region and service.
    pub fn derive(secret: &[u8], date: &str, region: &str, service: &str) -> Self {
        let first = [b"AWS4", secret].concat();
        let parts = [date, region, service, "aws4_request"];
        let key = parts.iter().fold(first, |key, part| hmac(&key, &[part.as_bytes()]).to_vec());
        Self(keyed(&key))
    }

    /// The signature of a string, in hex.
    pub fn signature(&self, string_to_sign: &str) -> String {
        hex(&self.mac(string_to_sign))
    }

    pub(super) fn mac(&self, string_to_sign: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(string_to_sign.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The signing key that one secret had last: mostly that of today. It belongs to that secret, so a changed one never meets
/// an old key. A request of another day costs a derivation, and so does the next of today.
#[derive(Default)]
pub struct LastKey(ArcSwapOption<Derived>);

/// A signing key, and what it is for.
pub struct Derived {
    date: Box<str>,
    region: Box<str>,
    service: Box<str>,
    /// The key.
    pub key: SigningKey,
}

impl std::fmt::Debug for LastKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LastKey(..)")
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived(..)")
    }
}

impl LastKey {
    /// The key for a scope, derived unless it is the last.
    pub fn get(&self, secret: &[u8], date: &str, region: &str, service: &str) -> Arc<Derived> {
        let fits = |last: &Derived| *last.date == *date && *last.region == *region && *last.service == *service;
        if let Some(last) = self.0.load_full().filter(|last| fits(last)) {
            return last;
        }
        let key = SigningKey::derive(secret, date, region, service);
        let last = Arc::new(Derived { date: date.into(), region: region.into(), service: service.into(), key });
        self.0.store(Some(last.clone()));
        last
    }
}
