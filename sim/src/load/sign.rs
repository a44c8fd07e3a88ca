//! Rendering and signing HTTP requests before a run: each with a key and a signature of its own.

use larder_iam_policies::sigv4::SigningKey;
use sha2::{Digest, Sha256};
use std::io;

/// Who signs, and where the requests go.
#[derive(Clone, Debug)]
pub struct Signing {
    /// `host:port` as the Host header says it.
    pub host: String,
    /// The cache.
    pub cache: String,
    /// Access key id.
    pub key_id: String,
    /// Its secret.
    pub secret: String,
    /// Region of the credential scope.
    pub region: String,
    /// Method: GET, or PUT with a value.
    pub put: bool,
    /// Bytes of a value.
    pub value_bytes: usize,
}

/// What Larder's gateway takes signatures for.
const SERVICE: &str = "elasticache";

/// First bytes of a file of requests; then each request with its length before it, 4 bytes, little-endian.
pub const MAGIC: &[u8; 16] = b"larder-requests1";

impl Signing {
    /// Requests for keys 0 to `keys`, as a file holds them, signed for `unix_s`.
    pub fn file(&self, keys: u64, unix_s: u64) -> Vec<u8> {
        let stamp = amz_date(unix_s);
        let body = vec![b'x'; if self.put { self.value_bytes } else { 0 }];
        let body_hash = hex(&Sha256::digest(&body));
        let signing_key = SigningKey::derive(self.secret.as_bytes(), &stamp[..8], &self.region, SERVICE);
        let mut file = MAGIC.to_vec();
        for key in 0..keys {
            let head = self.head(key, &stamp, &body_hash, &signing_key, body.len());
            file.extend_from_slice(&((head.len() + body.len()) as u32).to_le_bytes());
            file.extend_from_slice(head.as_bytes());
            file.extend_from_slice(&body);
        }
        file
    }

    fn head(&self, key: u64, stamp: &str, body_hash: &str, signing_key: &SigningKey, length: usize) -> String {
        let method = if self.put { "PUT" } else { "GET" };
        let path = format!("/v1/caches/{}/keys/key:{key:012}", self.cache);
        // Every service but S3 encodes the path once more.
        let canonical = format!(
            "{method}\n{}\n\nhost:{}\nx-amz-content-sha256:{body_hash}\nx-amz-date:{stamp}\n\n\
             host;x-amz-content-sha256;x-amz-date\n{body_hash}",
            path.replace(':', "%3A"),
            self.host
        );
        let scope = format!("{}/{}/{SERVICE}/aws4_request", &stamp[..8], self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let signature = signing_key.signature(&to_sign);
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-amz-date: {stamp}\r\nx-amz-content-sha256: {body_hash}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}\r\n\
             content-length: {length}\r\n\r\n",
            self.host, self.key_id
        )
    }
}

/// The requests of a file, as ranges of it.
///
/// # Errors
/// The file is not one of requests, is cut short, or holds none.
pub fn requests(file: &[u8]) -> io::Result<Vec<std::ops::Range<usize>>> {
    let wrong = || io::Error::other("not a whole file of requests");
    if file.get(..MAGIC.len()) != Some(&MAGIC[..]) {
        return Err(wrong());
    }
    let mut ranges = Vec::new();
    let mut at = MAGIC.len();
    while at < file.len() {
        let length = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let start = at + 4;
        at =
            start.checked_add(length.ok_or_else(wrong)? as usize).filter(|&end| end <= file.len()).ok_or_else(wrong)?;
        ranges.push(start..at);
    }
    if ranges.is_empty() { Err(wrong()) } else { Ok(ranges) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}

/// `20150830T123600Z`.
fn amz_date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Years counted from March of the year 0, so that a leap day is a year's last; 719,468 days from there to 1970.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signing(put: bool) -> Signing {
        Signing {
            host: "127.0.0.1:8079".to_owned(),
            cache: "default".to_owned(),
            key_id: "test".to_owned(),
            secret: "test".to_owned(),
            region: "us-east-1".to_owned(),
            put,
            value_bytes: 5,
        }
    }

    #[test]
    fn dates() {
        assert_eq!(amz_date(0), "19700101T000000Z");
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
        assert_eq!(amz_date(1_709_164_800), "20240229T000000Z");
        assert_eq!(amz_date(1_798_761_599), "20261231T235959Z");
    }

    #[test]
    fn the_gateways_verifier_takes_every_signature() {
        use larder_iam_policies::sigv4::{Claim, Rules, SignedRequest, verify};
        let unix_s = 1_440_938_160;
        for put in [false, true] {
            let file = signing(put).file(20, unix_s);
            for range in requests(&file).expect("we wrote it") {
                let text = std::str::from_utf8(&file[range]).expect("all of it is ASCII");
                let (head, body) = text.split_once("\r\n\r\n").expect("there is a head");
                let mut lines = head.split("\r\n");
                let mut first = lines.next().unwrap_or_default().split(' ');
                let headers: Vec<_> = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name, value.as_bytes()))
                    .collect();
                let request = SignedRequest {
                    method: first.next().unwrap_or_default(),
                    path: first.next().unwrap_or_default(),
                    query: "",
                    headers: &headers,
                    body: body.as_bytes(),
                };
                let claim = Claim::read(&request).expect("a claim");
                let key = SigningKey::derive(b"test", "20150830", "us-east-1", SERVICE);
                let rules = Rules::strict("us-east-1", SERVICE);
                verify(&request, &claim, &key, &rules, unix_s * 1000).expect("a good signature");
            }
        }
    }

    #[test]
    fn a_file_reads_back_and_every_signature_differs() {
        let file = signing(true).file(100, 1_440_938_160);
        let ranges = requests(&file).expect("we wrote it");
        assert_eq!(ranges.len(), 100);
        let signatures: std::collections::HashSet<_> = ranges
            .iter()
            .map(|range| {
                let text = String::from_utf8_lossy(&file[range.clone()]).into_owned();
                assert!(text.starts_with("PUT /v1/caches/default/keys/key:0000000000"), "{text}");
                assert!(text.ends_with("content-length: 5\r\n\r\nxxxxx"), "{text}");
                text.split("Signature=").nth(1).map(|rest| rest[..64].to_owned())
            })
            .collect();
        assert_eq!(signatures.len(), 100);
        for cut in [0, 10, MAGIC.len(), MAGIC.len() + 2, file.len() - 1] {
            assert!(requests(&file[..cut]).is_err(), "{cut}");
        }
    }
}
