//! Signing keys: derived by four HMACs, so kept.

use std::num::NonZeroUsize;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hmac::{Hmac, KeyInit, Mac};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::Sha256;

use super::canonical::hex;

/// How many derived keys are kept.
const KEYS_MAX: usize = 4096;

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
        let mut mac = self.0.clone();
        mac.update(string_to_sign.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

/// The keys derived lately. It belongs to one snapshot of credentials, so a changed secret never meets an old key.
pub struct SigningKeys(Mutex<LruCache<String, Arc<SigningKey>, RandomState>>);

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys(..)")
    }
}

impl Default for SigningKeys {
    fn default() -> Self {
        let most = NonZeroUsize::MIN.saturating_add(KEYS_MAX - 1);
        Self(Mutex::new(LruCache::with_hasher(most, RandomState::default())))
    }
}

impl SigningKeys {
    /// The key of an access key id, derived when it is not at hand.
    pub fn get(&self, id: &str, secret: &[u8], date: &str, region: &str, service: &str) -> Arc<SigningKey> {
        let scope = [id, date, region, service].join("/");
        if let Some(key) = self.0.lock().get(&scope) {
            return key.clone();
        }
        let key = Arc::new(SigningKey::derive(secret, date, region, service));
        self.0.lock().put(scope, key.clone());
        key
    }
}
