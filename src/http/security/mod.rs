//! Who may connect and ask: TLS, passwords and tokens of every port, from the file of `--web-config`.
//!
//! Input: the file, with Prometheus' keys and a few of our own ([`file`]). Output: what a new connection speaks
//! ([`Security::tls`]) and a layer around the routes of a port ([`guard`]). The file, certificates and tokens are read
//! again while the server runs; connections that are open go on with what they have. Without the file everybody may
//! ask everything.
//!
//! Secrets: passwords are kept as bcrypt hashes, tokens as SHA-256; neither is logged or shown.

mod accounts;
mod file;
mod guard;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub(crate) use guard::{Guarded, guard};

use self::accounts::{Accounts, PasswordCache};
use crate::reload::{WatchedFile, read_file};
use crate::telemetry::Metrics;

/// What the file says now.
#[derive(Debug)]
struct Rules {
    tls: Option<Arc<ServerConfig>>,
    accounts: Accounts,
}

/// TLS and accounts of one server.
#[derive(Debug)]
pub struct Security {
    file: WatchedFile,
    path: PathBuf,
    rules: ArcSwap<Rules>,
    passwords: PasswordCache,
}

impl Security {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, without its secrets.
    pub fn open(path: &Path) -> Result<Self, String> {
        Ok(Self {
            file: WatchedFile::new("web", path.to_owned()),
            path: path.to_owned(),
            rules: ArcSwap::from_pointee(load(path)?),
            passwords: PasswordCache::default(),
        })
    }

    /// Reads the file again if it, a certificate, a key or a token has changed, or if `is_forced`. May block.
    ///
    /// # Errors
    /// What is wrong; what was read before stays in force then.
    pub fn check(&self, is_forced: bool, metrics: &Metrics) -> Result<(), String> {
        self.file.check(is_forced, metrics, fingerprint, |_| {
            self.rules.store(Arc::new(load(&self.path)?));
            Ok(())
        })
    }

    /// What a new connection speaks; `None` = no TLS.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.rules.load().tls.clone()
    }
}

fn load(path: &Path) -> Result<Rules, String> {
    let web = file::WebFile::read(path)?;
    Ok(Rules { tls: web.tls.as_ref().map(tls::server_config).transpose()?, accounts: Accounts::new(web)? })
}

/// A digest of everything that the rules depend on: secrets are not kept for comparison.
fn fingerprint(path: &Path) -> Result<Vec<u8>, String> {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let text = read_file(path)?;
    digest.update(&text);
    for other in file::WebFile::read(path)?.files() {
        // Of a file that cannot be read, that is what it has in place of content.
        let bytes = read_file(&other).unwrap_or_else(String::into_bytes);
        digest.update(&bytes.len().to_le_bytes());
        digest.update(&bytes);
    }
    Ok(digest.finish().as_ref().to_vec())
}
