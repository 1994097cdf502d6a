//! TLS by rustls: certificates and keys from files, and roots for the other side. One provider of
//! cryptography (ring) for the whole process, named here and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::domain::fault::{Class, Fault};

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file has no certificate that can be read.
    #[error("{}: no PEM certificate can be read: {problem}", .file.display())]
    Certificate {
        /// Which file.
        file: PathBuf,
        /// What was wrong.
        problem: String,
    },
    /// A file has no private key that can be read. What is in it is never shown.
    #[error("{}: no PEM private key can be read", .file.display())]
    Key {
        /// Which file.
        file: PathBuf,
    },
    /// The key is not the certificate's, or the certificate does not do.
    #[error("{} does not do for TLS: {problem}", .file.display())]
    Unfit {
        /// The certificate's file.
        file: PathBuf,
        /// What was wrong.
        problem: String,
    },
}

impl Fault for TlsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "tls.certificate",
            Self::Key { .. } => "tls.key",
            Self::Unfit { .. } => "tls.unfit",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// What a client speaks once the connection is secured.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/2 alone, as gRPC does.
    Http2,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/1.1, or HTTP/2 where the server has it.
    Http,
}

/// How a listener proves who it is: a chain of certificates and its key, both PEM.
///
/// # Errors
/// [`TlsError`].
pub fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(cert)?;
    let read = PrivateKeyDer::from_pem_file(key);
    let secret = read.map_err(|_| TlsError::Key { file: key.to_owned() })?;
    let unfit = |problem: rustls::Error| TlsError::Unfit {
        file: cert.to_owned(),
        problem: problem.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whom a client believes: the roots of `ca` (PEM) and no others, or else the public web's.
///
/// # Errors
/// [`TlsError`].
pub fn client(ca: Option<&Path>, speaks: Speaks) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            for root in certificates(file)? {
                roots.add(root).map_err(|problem| TlsError::Unfit {
                    file: file.to_owned(),
                    problem: problem.to_string(),
                })?;
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has every default version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match speaks {
        Speaks::Http2 => vec![b"h2".to_vec()],
        Speaks::Http1 => vec![b"http/1.1".to_vec()],
        Speaks::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: String| TlsError::Certificate { file: file.to_owned(), problem };
    let read = CertificateDer::pem_file_iter(file).map_err(|problem| wrong(problem.to_string()))?;
    let chain: Vec<_> =
        read.collect::<Result<_, _>>().map_err(|problem| wrong(problem.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("there is none".to_owned()));
    }
    Ok(chain)
}
