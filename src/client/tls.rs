// SPDX-License-Identifier: Apache-2.0
//! HTTPS: who is believed to be the server, and the handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;

/// How to speak TLS with one server.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Believes the authorities in a PEM file and no others, or without one those that this machine believes.
    pub fn new(host: &str, authorities: Option<&Path>) -> Result<Self, Error> {
        let wrong = |why: String| Error::Address(why);
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                let file = path.display();
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|e| wrong(format!("the certificates in {file} cannot be read: {e}")))?;
                for certificate in certificates {
                    roots
                        .add(certificate)
                        .map_err(|e| wrong(format!("a certificate in {file} cannot be used: {e}")))?;
                }
                if roots.is_empty() {
                    return Err(wrong(format!("{file} has no certificate in it")));
                }
            }
            // What cannot be read of the system's is left out; a server that needs it will not be believed.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong(format!("{host} is no name that a certificate can have")))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// The handshake. If it fails, nothing of a request has been sent.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await.map_err(|error| {
            let hint = "--ca-cert or JOBBIE_CA_CERT names the authority that has signed its certificate";
            match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    io::Error::new(error.kind(), format!("{error}; {hint}"))
                }
                Some(rustls::Error::InvalidMessage(_)) => {
                    io::Error::new(error.kind(), format!("it does not speak TLS ({error}); try http://"))
                }
                _ => error,
            }
        })
    }
}
