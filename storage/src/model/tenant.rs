//! Tenant names: validated once at the rim, safe as a directory name ever after.

use std::fmt;
use std::sync::Arc;

/// Longest tenant name in bytes.
const TENANT_ID_BYTES_MAX: usize = 150;

/// The name of a tenant: 1 to 150 bytes of `[A-Za-z0-9!_.*'()-]`, not `.` or `..`.
///
/// # Source
/// The character set of Grafana Mimir's tenant IDs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a tenant name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantIdError {
    /// The name has no characters.
    #[error("tenant name is empty")]
    Empty,
    /// The name is too long.
    #[error("tenant name has {given} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes in the name given.
        given: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// The name holds a character that is not allowed.
    #[error("tenant name {name:?} holds {found:?}; allowed are letters, digits and !_.*'()-")]
    Character {
        /// The name given.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// The name would mean a directory of its own.
    #[error("tenant name {0:?} is reserved")]
    Reserved(String),
}

impl TenantId {
    /// Parses and validates a tenant name.
    ///
    /// # Errors
    /// [`TenantIdError`] naming the offending part.
    pub fn new(name: &str) -> Result<Self, TenantIdError> {
        if name.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if name.len() > TENANT_ID_BYTES_MAX {
            return Err(TenantIdError::TooLong { given: name.len(), limit: TENANT_ID_BYTES_MAX });
        }
        if let Some(found) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "!_.*'()-".contains(*c))) {
            return Err(TenantIdError::Character { name: name.to_owned(), found });
        }
        if name == "." || name == ".." {
            return Err(TenantIdError::Reserved(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The tenant of requests that name none.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tricks_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", "%2e%2e", "a\0b", "ü"] {
            assert!(TenantId::new(name).is_err(), "{name:?}");
        }
        assert!(TenantId::new(&"x".repeat(151)).is_err());
    }

    #[test]
    fn ordinary_names_are_kept() {
        for name in ["anonymous", "team-a", "A.b_c", "(x)!*'"] {
            assert_eq!(TenantId::new(name).unwrap().as_str(), name);
        }
    }
}
