// SPDX-License-Identifier: Apache-2.0
//! Certificate and key: read at the start, and again when the files change, without a restart.
//!
//! Connections that are open keep what they were opened with. A new pair that cannot be used is named in the
//! log and the old one stays: a mistake in renewing must not take a working server down.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at: two calls of the system.
const LOOK: Duration = Duration::from_secs(2);

/// Where certificate and key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to the one that clients know.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is shown to clients now.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What tells one state of the files from another.
type Stamp = [Option<(u64, i64, i64, u64)>; 2];

/// A certificate and its key, and how to read them again. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    seen: Arc<Mutex<Stamp>>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// With a sentence that names the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = stamp(files);
        let key = read(files, &provider)?;
        warn_if_readable(&files.key);
        Ok(Self {
            files: Arc::new(files.clone()),
            provider,
            current: Arc::new(Current(RwLock::new(Arc::new(key)))),
            seen: Arc::new(Mutex::new(seen)),
        })
    }

    /// What encrypts connections: HTTP/2 and HTTP/1.1, as the client prefers, over TLS 1.3 or 1.2.
    ///
    /// # Errors
    /// None that a build of ours has.
    pub fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again, whether they have changed or not, and says in the log how that went.
    pub fn reload(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp(&self.files);
        match read(&self.files, &self.provider) {
            Ok(key) => {
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                warn_if_readable(&self.files.key);
                tracing::info!(certificate = %self.files.cert.display(), "the certificate was read again");
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificate cannot be used; the old one stays");
            }
        }
    }

    /// Reads the files again when they have changed, for ever.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            // A file may be on a disk that is slow to answer.
            let looked = tokio::task::spawn_blocking(move || {
                if stamp(&tls.files) != *tls.seen.lock().unwrap_or_else(PoisonError::into_inner) {
                    tls.reload();
                }
            });
            // An error means that the process ends.
            let _ = looked.await;
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &Path| {
        let facts: Metadata = std::fs::metadata(path).ok()?;
        Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.len()))
    };
    [of(&files.cert), of(&files.key)]
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (cert, key) = (files.cert.display(), files.key.display());
    let text = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|e| wrong(format!("{what} {} cannot be read: {e}", path.display())))
    };
    let chain = text("the certificate file", &files.cert)?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong(format!("the certificate file {cert} is not valid PEM: {e}")))?;
    if chain.is_empty() {
        return Err(wrong(format!("the certificate file {cert} has no certificate in it")));
    }
    let secret = text("the key file", &files.key)?;
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| {
        wrong(format!("the key file {key} has no private key in it (PKCS#8, PKCS#1 or SEC1)"))
    })?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            wrong(format!("the key in {key} does not belong to the first certificate in {cert}"))
        }
        error => wrong(format!("the certificate in {cert} cannot be used with the key in {key}: {error}")),
    })
}

/// A private key that others on this machine can read is not private.
fn warn_if_readable(key: &Path) {
    if let Ok(facts) = std::fs::metadata(key) {
        let mode = facts.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(
                key = %key.display(),
                mode = format_args!("{mode:03o}"),
                "others can read the private key; chmod 600 keeps it private"
            );
        }
    }
}
