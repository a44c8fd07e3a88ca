//! TLS of a listener: certificates from files or made at start, replaced while connections live.
//!
//! A handshake takes whatever is published when it begins; open connections keep what they have. A reload that fails
//! changes nothing, so a half-written file cannot close the listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientCertificates, TlsConfig, TlsSource};

/// The TLS settings in force. Clones share them.
#[derive(Clone)]
pub struct Tls {
    source: TlsConfig,
    live: Arc<ArcSwap<Live>>,
}

struct Live {
    http: Arc<ServerConfig>,
    plain: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why there are no TLS settings. All are mistakes of whoever configured them, except [`TlsError::Generate`].
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or holds no such PEM section.
    File {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        holds: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The certificate and the key do not belong together, or are of a kind that is not supported.
    Pair(rustls::Error),
    /// No development certificate could be made.
    Generate(rcgen::Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TlsError::File { path, holds, cause } => {
                write!(f, "{}: no usable {holds} in PEM form: {cause}", path.display())
            }
            TlsError::Pair(cause) => write!(f, "the certificate and the key cannot be used together: {cause}"),
            TlsError::Generate(cause) => write!(f, "no development certificate could be made: {cause}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// Reads or makes the certificate.
    ///
    /// # Errors
    /// [`TlsError`] for unreadable files, and for pairs that do not fit.
    pub fn load(source: &TlsConfig) -> Result<Tls, TlsError> {
        let live = Live::load(source)?;
        Ok(Tls { source: source.clone(), live: Arc::new(ArcSwap::from_pointee(live)) })
    }

    /// Reads the files again (SIGHUP). A generated certificate stays as it is.
    ///
    /// # Errors
    /// As [`Tls::load`]; the old certificate then stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        if self.source.certificate != TlsSource::Generated {
            self.live.store(Arc::new(Live::load(&self.source)?));
        }
        Ok(())
    }

    /// Settings for HTTP: ALPN offers `h2` and `http/1.1`.
    pub fn http(&self) -> Arc<ServerConfig> {
        self.live.load().http.clone()
    }

    /// Settings without ALPN, for RESP and memcached; these may ask clients for certificates.
    pub fn plain(&self) -> Arc<ServerConfig> {
        self.live.load().plain.clone()
    }

    /// The leaf certificate in DER form: what a client pins to trust a generated one.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.live.load().leaf.clone()
    }
}

impl Live {
    fn load(source: &TlsConfig) -> Result<Live, TlsError> {
        let (chain, key) = match &source.certificate {
            TlsSource::Files { cert, key } => (read_chain(cert)?, read_key(key)?),
            TlsSource::Generated => generate()?,
        };
        let leaf = chain.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()));
        let mut http = server_config(chain.clone(), key.clone_key(), None)?;
        http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Live { http: Arc::new(http), plain: Arc::new(server_config(chain, key, source.clients.as_ref())?), leaf })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<&ClientCertificates>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => verifier_of(clients, &provider)?,
    };
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(TlsError::Pair)
}

fn verifier_of(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let bad = |cause: String| TlsError::File { path: clients.ca.clone(), holds: "certificate authority", cause };
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(&clients.ca)? {
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| bad(error.to_string()))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |cause: String| TlsError::File { path: path.to_owned(), holds: "certificate", cause };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|sections| sections.collect::<Result<_, _>>())
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() { Err(bad("it holds none".to_owned())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        path: path.to_owned(),
        holds: "private key",
        cause: error.to_string(),
    })
}

fn generate() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let names = ["localhost", "*.localhost", "*.cache.localhost", "127.0.0.1", "::1"];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names.map(str::to_owned)).map_err(TlsError::Generate)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    Ok((vec![cert.der().clone()], key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write_pair(folder: &Path) -> TlsConfig {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (cert_path, key_path) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert_path, cert.pem()).unwrap();
        std::fs::write(&key_path, signing_key.serialize_pem()).unwrap();
        TlsSource::Files { cert: cert_path, key: key_path }.into()
    }

    #[test]
    fn files_are_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let source = write_pair(folder.path());
        let tls = Tls::load(&source).unwrap();
        let first = tls.leaf();
        write_pair(folder.path());
        assert_eq!(tls.leaf(), first);
        tls.reload().unwrap();
        let second = tls.leaf();
        assert_ne!(second, first);
        std::fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::File { holds: "certificate", .. })));
        assert_eq!(tls.leaf(), second);
        assert_eq!(tls.http().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (TlsSource::Files { cert, .. }, TlsSource::Files { key, .. }) =
            (write_pair(one.path()).certificate, write_pair(two.path()).certificate)
        else {
            unreachable!("write_pair answers files")
        };
        assert!(matches!(Tls::load(&TlsSource::Files { cert, key }.into()), Err(TlsError::Pair(_))));
    }

    #[test]
    fn a_generated_certificate_stays() {
        let tls = Tls::load(&TlsSource::Generated.into()).unwrap();
        let leaf = tls.leaf();
        tls.reload().unwrap();
        assert_eq!(tls.leaf(), leaf);
    }
}
