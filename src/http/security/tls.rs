//! From the section `tls_server_config` to what rustls wants.
//!
//! Source: Prometheus `docs/configuration/https.md`; Go's `crypto/tls` for the words.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::file::TlsSection;

/// Go names these suites without the version.
const TLS13_PREFIX: &str = "TLS13_";

/// Reads certificate, key and authorities.
pub(super) fn server_config(section: &TlsSection) -> Result<Arc<ServerConfig>, String> {
    if section.cert_file.as_os_str().is_empty() || section.key_file.as_os_str().is_empty() {
        return Err("tls_server_config: cert_file and key_file must be there".to_owned());
    }
    let provider = Arc::new(provider(section)?);
    let verifier = client_verifier(section, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(section)?)
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let failed =
        |error: rustls::Error| format!("cert_file {} and key_file: {error}", section.cert_file.display());
    let mut config = builder
        .with_single_cert(certificates("cert_file", &section.cert_file)?, key(&section.key_file)?)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |reason: String| format!("{name} {}: {reason}", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<_, _>>())
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("holds no certificate; allowed is PEM".to_owned()));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("key_file {}: {error}", path.display()))
}

fn client_verifier(
    section: &TlsSection,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    const ALLOWED: &str = "allowed are NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert";
    let is_required = match section.client_auth_type.as_str() {
        "" | "NoClientCert" if section.client_ca_file.is_some() => {
            return Err(format!("client_ca_file needs a client_auth_type that verifies; {ALLOWED}"));
        }
        "" | "NoClientCert" => return Ok(None),
        "VerifyClientCertIfGiven" => false,
        "RequireAndVerifyClientCert" => true,
        other => return Err(format!("client_auth_type {other:?} is not supported; {ALLOWED}")),
    };
    let path = section
        .client_ca_file
        .as_ref()
        .ok_or_else(|| format!("client_auth_type {} needs a client_ca_file", section.client_auth_type))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", path)? {
        roots.add(certificate).map_err(|error| format!("client_ca_file {}: {error}", path.display()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| format!("client_ca_file {}: {error}", path.display()))
}

fn versions(section: &TlsSection) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let number = |key: &str, text: &Option<String>, absent: u8| match text.as_deref() {
        None | Some("") => Ok(absent),
        Some("TLS12") => Ok(2),
        Some("TLS13") => Ok(3),
        Some(other) => Err(format!("{key} {other:?} is not supported; allowed are TLS12, TLS13")),
    };
    let min = number("min_version", &section.min_version, 2)?;
    let max = number("max_version", &section.max_version, 3)?;
    let found: Vec<&'static SupportedProtocolVersion> = [(2, &TLS12), (3, &TLS13)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, version)| version)
        .collect();
    if found.is_empty() { Err("min_version is above max_version".to_owned()) } else { Ok(found) }
}

/// The cryptography, with the suites that the section names; those of TLS 1.3 cannot be chosen, as in Go.
fn provider(section: &TlsSection) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if section.cipher_suites.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        name.strip_prefix(TLS13_PREFIX).map(|rest| format!("TLS_{rest}")).unwrap_or(name)
    };
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    if let Some(unknown) = section.cipher_suites.iter().find(|wanted| !known.contains(wanted)) {
        return Err(format!("cipher suite {unknown:?} is not supported; allowed are {}", known.join(", ")));
    }
    let is_version_13 = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
    provider
        .cipher_suites
        .retain(|suite| is_version_13(suite) || section.cipher_suites.contains(&name(suite)));
    Ok(provider)
}
