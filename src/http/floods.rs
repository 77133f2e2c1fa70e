//! Clients that flood: how much of a connection may be frames that carry no request, and who has to wait.
//!
//! A connection has a [`ControlBudget`]: what it receives in pings, settings, resets, window updates and empty frames (see
//! `frames`) is little for every client that works. Who overdraws it, or opens and resets streams until HTTP/2 has enough,
//! loses the connection, and [`Penalties`] keep the address waiting before its next one is served.
//! Pure but for locks: time is handed in. Not here: sockets (see `listener`), bytes on their way (see `metered`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of control frames that a connection may send at once: some ten thousand frames.
const CONTROL_BURST_BYTES: i64 = 256 << 10;
/// Bytes of control frames a second that a connection may send for ever: some thousands of frames.
const CONTROL_BYTES_PER_SECOND: u64 = 64 << 10;
/// A receiver acknowledges what it reads by window updates: a byte of them for so many bytes is plenty.
const SENT_BYTES_PER_CONTROL_BYTE: usize = 16;

/// The wait after a first flood; it doubles with each that follows it.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(32);
/// After so long without a flood a client is as good as new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Connections of one client that wait; more are closed at once. What they sent waits in the system's buffers.
const WAITING_PER_CLIENT_MAX: usize = 16;
/// Clients that are remembered.
const CLIENT_COUNT_MAX: usize = 4096;

/// How many bytes of control frames one connection has received.
///
/// They are a debt; answers that are sent pay it off, and so does time.
#[derive(Debug)]
pub(super) struct ControlBudget {
    /// Received and not paid for.
    debt_bytes: AtomicI64,
    opened: Instant,
    /// Until when time has paid, in milliseconds after `opened`.
    paid_until_ms: AtomicU64,
    is_overdrawn: AtomicBool,
}

impl ControlBudget {
    /// The budget of a connection that is opened.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            debt_bytes: AtomicI64::new(0),
            opened: now,
            paid_until_ms: AtomicU64::new(0),
            is_overdrawn: AtomicBool::new(false),
        }
    }

    /// Notes bytes of control frames. `now` is only asked when they are many.
    ///
    /// # Returns
    /// Whether the client may go on.
    pub(super) fn received(&self, byte_count: usize, now: impl FnOnce() -> Instant) -> bool {
        let byte_count = i64::try_from(byte_count).unwrap_or(i64::MAX);
        let debt = self.debt_bytes.fetch_add(byte_count, Ordering::Relaxed).saturating_add(byte_count);
        if debt <= CONTROL_BURST_BYTES {
            return true;
        }
        let now_ms =
            u64::try_from(now().saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX);
        let unpaid_ms = now_ms.saturating_sub(self.paid_until_ms.swap(now_ms, Ordering::Relaxed));
        let paid = unpaid_ms.saturating_mul(CONTROL_BYTES_PER_SECOND) / 1000;
        let may_go_on = self.pay(usize::try_from(paid).unwrap_or(usize::MAX)) <= CONTROL_BURST_BYTES;
        if !may_go_on {
            self.is_overdrawn.store(true, Ordering::Relaxed);
        }
        may_go_on
    }

    /// Whether the client was told once that it may not go on.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.is_overdrawn.load(Ordering::Relaxed)
    }

    /// Notes bytes that were sent to the client.
    pub(super) fn sent(&self, byte_count: usize) {
        let paid = byte_count / SENT_BYTES_PER_CONTROL_BYTE;
        if paid > 0 {
            self.pay(paid);
        }
    }

    /// Takes bytes off the debt, down to none; returns what is left of it.
    fn pay(&self, byte_count: usize) -> i64 {
        let byte_count = i64::try_from(byte_count).unwrap_or(i64::MAX);
        let left = |debt: i64| debt.saturating_sub(byte_count).max(0);
        let before =
            self.debt_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| Some(left(debt)));
        left(before.unwrap_or_else(|debt| debt))
    }
}

/// What a new connection of a client gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Service.
    Served,
    /// Service after a wait; [`Penalties::waited`] is to be called then.
    After(Duration),
    /// Nothing: too many of this client wait already.
    Closed,
}

/// Which clients flooded lately, of all ports together.
#[derive(Debug, Default)]
pub struct Penalties {
    clients: Mutex<HashMap<IpAddr, Penalty>>,
}

#[derive(Debug)]
struct Penalty {
    flood_count: u32,
    last_flood: Instant,
    waits_until: Instant,
    waiting_count: usize,
}

impl Penalties {
    /// What a new connection from `address` gets.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Admission {
        let Ok(mut clients) = self.clients.lock() else { return Admission::Served };
        let Some(penalty) = clients.get_mut(&client_of(address)) else { return Admission::Served };
        let wait = penalty.waits_until.saturating_duration_since(now);
        if wait.is_zero() {
            return Admission::Served;
        }
        if penalty.waiting_count >= WAITING_PER_CLIENT_MAX {
            return Admission::Closed;
        }
        penalty.waiting_count += 1;
        Admission::After(wait)
    }

    /// A connection that was told to wait has waited.
    pub(super) fn waited(&self, address: IpAddr) {
        let Ok(mut clients) = self.clients.lock() else { return };
        if let Some(penalty) = clients.get_mut(&client_of(address)) {
            penalty.waiting_count = penalty.waiting_count.saturating_sub(1);
        }
    }

    /// A connection from `address` was a flood: the next ones wait.
    pub(super) fn flooded(&self, address: IpAddr, now: Instant) {
        let Ok(mut clients) = self.clients.lock() else { return };
        let client = client_of(address);
        if !clients.contains_key(&client) && clients.len() >= CLIENT_COUNT_MAX {
            clients.retain(|_, penalty| !penalty.is_forgotten(now));
            // Still full: nobody is forgotten for a newcomer, who waits with its next flood.
            if clients.len() >= CLIENT_COUNT_MAX {
                return;
            }
        }
        if clients.get(&client).is_some_and(|penalty| penalty.is_forgotten(now)) {
            clients.remove(&client);
        }
        let penalty = clients.entry(client).or_insert(Penalty {
            flood_count: 0,
            last_flood: now,
            waits_until: now,
            waiting_count: 0,
        });
        penalty.last_flood = now;
        // Connections that were there before the first of them was found out are one flood.
        if penalty.waits_until > now {
            return;
        }
        let wait = WAIT_MIN.saturating_mul(1 << penalty.flood_count.min(16)).min(WAIT_MAX);
        penalty.flood_count = penalty.flood_count.saturating_add(1);
        penalty.waits_until = now + wait;
    }
}

impl Penalty {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.waiting_count == 0 && now.saturating_duration_since(self.last_flood) >= FORGOTTEN_AFTER
    }
}

/// Who is meant by an address: in IPv6 a client has a whole /64.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn control_frames_are_a_debt_that_time_pays_off() {
        let start = Instant::now();
        let budget = ControlBudget::new(start);
        assert!(budget.received(CONTROL_BURST_BYTES as usize, || start));
        assert!(!budget.is_overdrawn());
        assert!(!budget.received(1, || start));
        assert!(budget.is_overdrawn());
        assert!(budget.received(60_000, || start + Duration::from_secs(1)), "a second pays for 64 KiB");
        assert!(!budget.received(60_000, || start + Duration::from_secs(1)), "but only once");
    }

    #[test]
    fn reading_answers_with_small_windows_is_no_flood() {
        let start = Instant::now();
        let budget = ControlBudget::new(start);
        for _ in 0..1_000_000 {
            budget.sent(16_384);
            assert!(budget.received(26, || start));
        }
    }

    #[test]
    fn who_floods_waits_longer_each_time_and_is_forgiven() {
        let start = Instant::now();
        let penalties = Penalties::default();
        assert_eq!(penalties.admit(CLIENT, start), Admission::Served);
        penalties.flooded(CLIENT, start);
        assert_eq!(penalties.admit(CLIENT, start), Admission::After(WAIT_MIN));
        penalties.waited(CLIENT);
        assert_eq!(penalties.admit(OTHER, start), Admission::Served);
        let again = start + WAIT_MIN;
        assert_eq!(penalties.admit(CLIENT, again), Admission::Served);
        penalties.flooded(CLIENT, again);
        assert_eq!(penalties.admit(CLIENT, again), Admission::After(2 * WAIT_MIN));
        penalties.waited(CLIENT);
        penalties.flooded(CLIENT, again);
        assert_eq!(penalties.admit(CLIENT, again), Admission::After(2 * WAIT_MIN), "the same flood");
        penalties.waited(CLIENT);
        let mut latest = again;
        for _ in 0..20 {
            latest += WAIT_MAX;
            penalties.flooded(CLIENT, latest);
        }
        assert_eq!(penalties.admit(CLIENT, latest), Admission::After(WAIT_MAX));
        penalties.waited(CLIENT);
        let later = latest + FORGOTTEN_AFTER;
        penalties.flooded(CLIENT, later);
        assert_eq!(penalties.admit(CLIENT, later), Admission::After(WAIT_MIN));
    }

    #[test]
    fn only_a_few_connections_of_a_client_wait() {
        let start = Instant::now();
        let penalties = Penalties::default();
        penalties.flooded(CLIENT, start);
        for _ in 0..WAITING_PER_CLIENT_MAX {
            assert_eq!(penalties.admit(CLIENT, start), Admission::After(WAIT_MIN));
        }
        assert_eq!(penalties.admit(CLIENT, start), Admission::Closed);
        penalties.waited(CLIENT);
        assert_eq!(penalties.admit(CLIENT, start), Admission::After(WAIT_MIN));
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let penalties = Penalties::default();
        let (start, first) = (Instant::now(), "2001:db8::1".parse().unwrap());
        penalties.flooded(first, start);
        assert_ne!(penalties.admit("2001:db8::2".parse().unwrap(), start), Admission::Served);
        assert_eq!(penalties.admit("2001:db8:0:1::1".parse().unwrap(), start), Admission::Served);
        penalties.flooded("::ffff:192.0.2.1".parse().unwrap(), start);
        assert_ne!(penalties.admit(CLIENT, start), Admission::Served);
    }

    #[test]
    fn the_table_of_clients_is_bounded() {
        let (penalties, start) = (Penalties::default(), Instant::now());
        for number in 0..2 * CLIENT_COUNT_MAX as u32 {
            penalties.flooded(IpAddr::V4(number.into()), start);
        }
        assert_eq!(penalties.clients.lock().unwrap().len(), CLIENT_COUNT_MAX);
        penalties.flooded(IpAddr::V4(u32::MAX.into()), start + FORGOTTEN_AFTER);
        assert_eq!(penalties.clients.lock().unwrap().len(), 1);
    }
}
