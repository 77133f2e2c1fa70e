//! The file of `--web-config`, as it is written.
//!
//! ```yaml
//! tls_server_config:               # as in Prometheus
//!   cert_file: server.crt          # relative to this file
//!   key_file: server.key
//!   client_auth_type: RequireAndVerifyClientCert
//!   client_ca_file: ca.crt
//!   min_version: TLS12
//! basic_auth_users:                # as in Prometheus: bcrypt
//!   alice: $2y$10$…
//! user_tenants:                    # our own: users that may ask for these tenants only
//!   alice: [team-a]
//! bearer_tokens:                   # our own
//!   - sha256: 9f86d0…
//!     tenants: [team-a, team-b]
//! bearer_tokens_file: tokens       # our own: a token a line, tenants after a space, separated by commas
//! ```
//!
//! Source: Prometheus `docs/configuration/https.md`. Not here: what the entries mean for a connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mytsdb_storage::model::TenantId;
use serde::Deserialize;

use crate::reload::read_file;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebFile {
    #[serde(rename = "tls_server_config")]
    pub(super) tls: Option<TlsSection>,
    pub(super) basic_auth_users: BTreeMap<String, String>,
    pub(super) user_tenants: BTreeMap<String, Vec<String>>,
    pub(super) bearer_tokens: Vec<TokenEntry>,
    pub(super) bearer_tokens_file: Option<PathBuf>,
}

/// TLS, with Prometheus' keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) client_auth_type: String,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Vec<String>,
    /// Has no meaning any more, in Prometheus neither.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
}

/// A token by its hash.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenEntry {
    /// Of the token, in hexadecimal digits.
    pub(super) sha256: String,
    /// Tenants that it may ask for; absent = all.
    pub(super) tenants: Option<Vec<String>>,
}

/// A token and the tenants that it may ask for; `None` = all.
pub(super) type TokenLine = (String, Option<Vec<String>>);

impl WebFile {
    /// Reads and parses; paths come back relative to the working directory.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_file(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        let mut file: Self = match text.trim() {
            "" => Self::default(),
            // Without the lines around the error, which may hold secrets.
            text => serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = file.tls.iter_mut().flat_map(|tls| {
            [&mut tls.cert_file, &mut tls.key_file].into_iter().chain(&mut tls.client_ca_file)
        });
        for other in tls.chain(&mut file.bearer_tokens_file) {
            if !other.as_os_str().is_empty() {
                *other = folder.join(&*other);
            }
        }
        Ok(file)
    }

    /// The other files that this one names.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let tls = self
            .tls
            .iter()
            .flat_map(|tls| [&tls.cert_file, &tls.key_file].into_iter().chain(&tls.client_ca_file));
        tls.chain(&self.bearer_tokens_file).cloned().collect()
    }

    /// Every token of the tokens' file, and the tenants that it may ask for.
    pub(super) fn tokens_of_file(&self) -> Result<Vec<TokenLine>, String> {
        let Some(path) = &self.bearer_tokens_file else { return Ok(Vec::new()) };
        let failed = |reason: String| format!("bearer_tokens_file {}: {reason}", path.display());
        let text = String::from_utf8(read_file(path).map_err(failed)?)
            .map_err(|_| failed("is no UTF-8 text".to_owned()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(lines
            .map(|line| match line.split_once(char::is_whitespace) {
                None => (line.to_owned(), None),
                Some((token, tenants)) => {
                    let tenants = tenants.split(',').map(|name| name.trim().to_owned());
                    (token.to_owned(), Some(tenants.collect()))
                }
            })
            .collect())
    }
}

/// The names as tenants.
pub(super) fn tenants(names: &[String]) -> Result<Vec<TenantId>, String> {
    if names.is_empty() {
        return Err("the list of tenants is empty; leave it out to allow all".to_owned());
    }
    names.iter().map(|name| TenantId::new(name).map_err(|error| error.to_string())).collect()
}
