//! Users and tokens: who a request comes from, and which tenants it may ask for.
//!
//! Passwords are compared by bcrypt, one at a time as it takes a tenth of a second of a core; what it said is remembered
//! as Prometheus does. Tokens are compared by their SHA-256. Neither comparison tells by its time how near a guess was,
//! nor whether there is such a user.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use mytsdb_storage::model::TenantId;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::file::{WebFile, tenants};

/// Outcomes of bcrypt that are remembered, as in Prometheus.
const REMEMBERED_COUNT_MAX: usize = 100;

type Sha256 = [u8; 32];

fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Tenants that somebody may ask for; `None` = all.
pub(super) type AllowedTenants = Option<Arc<[TenantId]>>;

#[derive(Debug)]
struct User {
    bcrypt_hash: String,
    tenants: AllowedTenants,
}

/// Everybody who may ask. Without any, everybody may.
#[derive(Debug)]
pub(super) struct Accounts {
    users: BTreeMap<String, User>,
    tokens: Vec<(Sha256, AllowedTenants)>,
}

impl Accounts {
    pub(super) fn new(file: WebFile) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (token, names) in file.tokens_of_file()? {
            tokens.push((sha256(token.as_bytes()), allowed("bearer_tokens_file", names.as_deref())?));
        }
        for (index, entry) in file.bearer_tokens.iter().enumerate() {
            let place = format!("bearer_tokens: entry {}", index + 1);
            let hash =
                hex(&entry.sha256).ok_or_else(|| format!("{place}: sha256 must be 64 hexadecimal digits"))?;
            tokens.push((hash, allowed(&place, entry.tenants.as_deref())?));
        }
        let mut user_tenants = file.user_tenants;
        let mut users = BTreeMap::new();
        for (name, bcrypt_hash) in file.basic_auth_users {
            bcrypt::HashParts::from_str(&bcrypt_hash)
                .map_err(|_| format!("basic_auth_users: {name}: the value is no bcrypt hash"))?;
            let names = user_tenants.remove(&name);
            let tenants = allowed(&format!("user_tenants: {name}"), names.as_deref())?;
            users.insert(name, User { bcrypt_hash, tenants });
        }
        if let Some(name) = user_tenants.keys().next() {
            return Err(format!("user_tenants: {name}: basic_auth_users has no such user"));
        }
        Ok(Self { users, tokens })
    }

    /// Whether everybody may ask.
    pub(super) fn is_open(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    /// Whether a browser should ask for name and password.
    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Finds out who sends this `Authorization` header; `None` if nobody who may.
    pub(super) async fn find(&self, authorization: &str, cache: &PasswordCache) -> Option<AllowedTenants> {
        let (scheme, credentials) = authorization.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.with_token(credentials.trim());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        let known = self.users.get(name);
        // An unknown user costs the same as a known one.
        let compared = known.or_else(|| self.users.values().next())?;
        let is_right = cache.verify(name, password, &compared.bcrypt_hash).await;
        known.filter(|_| is_right).map(|user| user.tenants.clone())
    }

    fn with_token(&self, token: &str) -> Option<AllowedTenants> {
        let given = sha256(token.as_bytes());
        let mut found = None;
        for (hash, tenants) in &self.tokens {
            if bool::from(hash.ct_eq(&given)) {
                found = Some(tenants.clone());
            }
        }
        found
    }
}

fn allowed(place: &str, names: Option<&[String]>) -> Result<AllowedTenants, String> {
    names
        .map(|names| tenants(names).map(Arc::from).map_err(|reason| format!("{place}: {reason}")))
        .transpose()
}

fn hex(text: &str) -> Option<Sha256> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}

/// What bcrypt said about passwords, by a hash of everything that it was asked.
#[derive(Debug)]
pub(super) struct PasswordCache {
    outcomes: Mutex<HashMap<Sha256, bool>>,
    /// One comparison at a time: guesses must not take all cores.
    turn: Semaphore,
}

impl Default for PasswordCache {
    fn default() -> Self {
        Self { outcomes: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl PasswordCache {
    async fn verify(&self, name: &str, password: &str, bcrypt_hash: &str) -> bool {
        let key = sha256([name, bcrypt_hash, password].join("\0").as_bytes());
        if let Some(outcome) = self.remembered(&key) {
            return outcome;
        }
        let Ok(_turn) = self.turn.acquire().await else { return false };
        // Somebody may have asked the same meanwhile.
        if let Some(outcome) = self.remembered(&key) {
            return outcome;
        }
        let (password, bcrypt_hash) = (password.to_owned(), bcrypt_hash.to_owned());
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &bcrypt_hash));
        let outcome = matches!(compared.await, Ok(Ok(true)));
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() >= REMEMBERED_COUNT_MAX {
            // Wrong ones first: guesses must not make the right ones slow.
            let gone = outcomes.iter().find(|(_, is_right)| !**is_right).or_else(|| outcomes.iter().next());
            if let Some(gone) = gone.map(|(key, _)| *key) {
                outcomes.remove(&gone);
            }
        }
        outcomes.insert(key, outcome);
        outcome
    }

    fn remembered(&self, key: &Sha256) -> Option<bool> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(yaml: &str) -> Result<Accounts, String> {
        Accounts::new(serde_saphyr::from_str::<WebFile>(yaml).map_err(|error| error.to_string())?)
    }

    fn basic(name: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
    }

    #[tokio::test]
    async fn users_and_tokens_are_found_by_their_hashes_only() {
        let (alice, bob) = (bcrypt::hash("wonder:land", 4).unwrap(), bcrypt::hash("builder", 4).unwrap());
        let token: String = sha256(b"s3cret").iter().map(|byte| format!("{byte:02x}")).collect();
        let yaml = format!(
            "basic_auth_users: {{alice: '{alice}', bob: '{bob}'}}\nuser_tenants: {{alice: [a, b]}}\n\
             bearer_tokens: [{{sha256: {token}, tenants: [t]}}]\n"
        );
        let (accounts, cache) = (accounts(&yaml).unwrap(), PasswordCache::default());
        let tenants = async |authorization: &str| {
            let found = accounts.find(authorization, &cache).await;
            found.map(|tenants| tenants.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>()))
        };
        let named = |names: &[&str]| Some(Some(names.iter().map(ToString::to_string).collect::<Vec<_>>()));
        for _ in 0..2 {
            assert_eq!(tenants(&basic("alice", "wonder:land")).await, named(&["a", "b"]));
            assert_eq!(tenants(&basic("bob", "builder")).await, Some(None));
            assert_eq!(tenants("bearer s3cret").await, named(&["t"]));
            for wrong in [
                basic("alice", "builder"),
                basic("carol", "wonder:land"),
                "Bearer s3cret2".to_owned(),
                "Bearer ".to_owned(),
                "Basic !!".to_owned(),
                "Digest x".to_owned(),
                "s3cret".to_owned(),
            ] {
                assert_eq!(tenants(&wrong).await, None, "{wrong}");
            }
        }
    }

    #[tokio::test]
    async fn guesses_do_not_push_right_passwords_out_of_the_memory() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let cache = PasswordCache::default();
        assert!(cache.verify("a", "right", &hash).await);
        for index in 0..REMEMBERED_COUNT_MAX + 20 {
            assert!(!cache.verify("a", &index.to_string(), &hash).await);
        }
        let outcomes = cache.outcomes.lock().unwrap();
        assert_eq!(outcomes.len(), REMEMBERED_COUNT_MAX);
        assert_eq!(outcomes.values().filter(|is_right| **is_right).count(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_secret() {
        for (yaml, part) in [
            ("basic_auth_users: {alice: hunter2}", "alice"),
            ("bearer_tokens: [{sha256: hunter2}]", "entry 1"),
            ("user_tenants: {alice: [a]}", "no such user"),
            ("basic_auth_user: {}", "basic_auth_user"),
            ("bearer_tokens: [{sha256: x, tenant: a}]", "tenant"),
        ] {
            let message = accounts(yaml).unwrap_err();
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        for yaml in ["basic_auth_users: {alice: hunter2}", "bearer_tokens: [{sha256: hunter2}]"] {
            assert!(!accounts(yaml).unwrap_err().contains("hunter2"));
        }
    }
}
