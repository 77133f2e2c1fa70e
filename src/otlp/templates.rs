//! Metrics that came before: a sender repeats itself from one request to the next, all but times and values.
//!
//! Input: the bytes of a `Metric` message. Output: the [`Template`] that it repeats, which has the keys of its series and
//! says where its numbers are: nothing is parsed, and one hash of the message instead of one per part proves it the same.
//! A template is found by expectation (behind one metric comes what came behind it the last time), else by what the
//! ordinary way found out: the key of the first series, and the length.
//! Not here: what the points mean. Histograms, summaries, deltas and points with exemplars have no template.
//!
//! Invariant: a template stands for bytes, a source (tenant, options, resource, scope) and nothing else, so it never is
//! out of date; at worst nobody sends such bytes any more.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use mytsdb_storage::model::SeriesKeys;
use mytsdb_storage::{ResolvedSeries, SeriesHint};

use super::read::{DataKind, MetricLayout, PointLayout};

/// Most memory of all templates.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Most candidates of one request: what a request may cost in memory is bounded, and the next one brings more.
pub(super) const REQUEST_CANDIDATE_COUNT_MAX: usize = 10_000;
/// Longest message that is remembered: it is copied whole to be hashed.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// A template that failed as often in a row is looked at only now and then: its sender changes more than numbers.
const FAILURES_IN_A_ROW: u32 = 8;
/// How often it is looked at then.
const FAILURES_BETWEEN_LOOKS: u32 = 64;
/// A full memory starts afresh when as many metrics were not in it for each that it has.
const MISSES_PER_TEMPLATE: u64 = 8;
/// But not if it is good for one in so many.
const MISSES_PER_HIT: u64 = 4;

/// Which template; [`TemplateId::NONE`] is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TemplateId(u32);

impl TemplateId {
    /// No template.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// A metric that came before.
#[derive(Debug)]
pub(super) struct Template {
    /// Digest of whose metric it is.
    source_digest: u128,
    /// Digest of the message without its numbers.
    digest: u128,
    message_bytes: u32,
    /// Where its points are among those of all.
    points: Range<u32>,
    /// What came behind it the last time.
    next: AtomicU32,
    /// How often in a row the message was another one.
    failure_count: AtomicU32,
    /// Where the name is in the message.
    pub(super) name: Range<u32>,
    /// Where the unit is.
    pub(super) unit: Range<u32>,
    /// Where the fields `metadata` are.
    pub(super) metadata: Range<u32>,
    /// Gauge or sum.
    pub(super) kind: DataKind,
    /// Whether a sum only grows.
    pub(super) is_monotonic: bool,
}

impl Template {
    /// How many points it has, each a series.
    pub(super) fn point_count(&self) -> usize {
        self.points.len()
    }

    fn points(&self) -> Range<usize> {
        self.points.start as usize..self.points.end as usize
    }
}

/// A metric that the ordinary way read and that may become a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// The message.
    pub(super) message: &'a [u8],
    /// Digest of whose metric it is.
    pub(super) source_digest: u128,
    /// Index of its first series in the columns.
    pub(super) first_series: usize,
    /// How many series it has there: one per point, unless points were refused.
    pub(super) series_count: usize,
}

/// A metric that repeated a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeated {
    /// Where the template's points are among those of all.
    first_point: u32,
    /// Its first series in the columns; one series per point.
    first_series: u32,
    point_count: u32,
}

impl Repeated {
    /// A metric whose series in the columns begin at `first_series`.
    pub(super) fn new(template: &Template, first_series: usize) -> Self {
        let Range { start, end } = template.points;
        Self { first_point: start, first_series: first_series as u32, point_count: end - start }
    }

    fn points(&self) -> Range<usize> {
        self.first_point as usize..self.first_point as usize + self.point_count as usize
    }
}

/// How a request fared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TemplateUse {
    /// Metrics that were a template's.
    pub(super) hits: u64,
    /// Metrics that could have been.
    pub(super) misses: u64,
}

/// The templates of all tenants.
#[derive(Debug)]
pub(super) struct Templates {
    memory_bytes_max: usize,
    all: Vec<Template>,
    points: Vec<PointLayout>,
    /// Keys of the points' series.
    keys: Vec<u128>,
    /// What the storage said about them, as bits.
    hints: Vec<AtomicU64>,
    /// By key of the first series and length of the message.
    by_first_series: HashMap<u128, u32>,
    hits_since_full: AtomicU64,
    misses_since_full: AtomicU64,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(MEMORY_BYTES_MAX)
    }
}

impl Templates {
    /// No templates yet, and later not many more than fit into so much memory.
    fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            all: Vec::new(),
            points: Vec::new(),
            keys: Vec::new(),
            hints: Vec::new(),
            by_first_series: HashMap::new(),
            hits_since_full: AtomicU64::new(0),
            misses_since_full: AtomicU64::new(0),
        }
    }

    /// The template of the metric that is expected behind `previous`.
    #[inline]
    pub(super) fn expected_behind(&self, previous: TemplateId) -> Option<(TemplateId, &Template)> {
        let next = self.all.get(previous.0 as usize)?.next.load(Ordering::Relaxed);
        Some((TemplateId(next), self.all.get(next as usize)?))
    }

    /// Whether `message` repeats the template. A copy of it goes through `scratch`.
    #[inline]
    pub(super) fn is_repeated(
        &self,
        template: &Template,
        (message, source_digest): (&[u8], u128),
        (keys, scratch): (&SeriesKeys, &mut Vec<u8>),
    ) -> bool {
        if message.len() != template.message_bytes as usize || source_digest != template.source_digest {
            return false;
        }
        let failure_count = template.failure_count.load(Ordering::Relaxed);
        if failure_count != 0 {
            template.failure_count.store(failure_count.wrapping_add(1), Ordering::Relaxed);
            if !is_looked_at(failure_count) {
                return false;
            }
        }
        let is_same = digest(keys, scratch, message, self.points_of(template)) == template.digest;
        // PERF: only changes are written, as the threads share this memory.
        if is_same && failure_count != 0 {
            template.failure_count.store(0, Ordering::Relaxed);
        } else if !is_same && failure_count == 0 {
            template.failure_count.store(1, Ordering::Relaxed);
        }
        is_same
    }

    /// Layouts of the template's points.
    #[inline]
    pub(super) fn points_of(&self, template: &Template) -> &[PointLayout] {
        self.points.get(template.points()).unwrap_or_default()
    }

    /// Keys of the template's series, one per point.
    #[inline]
    pub(super) fn keys_of(&self, template: &Template) -> &[u128] {
        self.keys.get(template.points()).unwrap_or_default()
    }

    /// Appends hints for the template's series to `out`.
    #[inline]
    pub(super) fn hints_of(&self, template: &Template, out: &mut Vec<SeriesHint>) {
        let hints = self.hints.get(template.points()).unwrap_or_default();
        out.extend(hints.iter().map(|bits| SeriesHint::from_bits(bits.load(Ordering::Relaxed))));
    }

    /// Remembers what the storage says now about the series of a metric that repeated a template. Whose template it was
    /// does not matter: what is said about a key is true of the key.
    pub(super) fn set_hints(&self, repeated: &Repeated, series_keys: &[u128], resolved: &ResolvedSeries) {
        let hints = self.hints.get(repeated.points()).unwrap_or_default();
        let newest = resolved.hint(repeated.first_series as usize);
        let is_known =
            |bits: &AtomicU64| SeriesHint::from_bits(bits.load(Ordering::Relaxed)).is_of_table_of(newest);
        // PERF: those of one metric are as old as each other.
        if hints.first().is_none_or(is_known) {
            return;
        }
        let keys = self.keys.get(repeated.points()).unwrap_or_default();
        for (index, (key, bits)) in (repeated.first_series as usize..).zip(keys.iter().zip(hints)) {
            if series_keys.get(index) == Some(key) {
                bits.store(resolved.hint(index).to_bits(), Ordering::Relaxed);
            }
        }
    }

    /// The template that begins with the same series and is as long. It may be another one all the same.
    pub(super) fn find(&self, first_key: u128, message: &[u8]) -> Option<TemplateId> {
        self.by_first_series.get(&identity(first_key, message.len())).map(|index| TemplateId(*index))
    }

    /// Notes what came behind a metric.
    pub(super) fn follow(&self, previous: TemplateId, next: TemplateId) {
        if let Some(template) = self.all.get(previous.0 as usize)
            && template.next.load(Ordering::Relaxed) != next.0
        {
            template.next.store(next.0, Ordering::Relaxed);
        }
    }

    /// Whether a metric that is not known, or for which `found` no longer stands, is wanted as a candidate.
    pub(super) fn wants(&self, found: Option<TemplateId>) -> bool {
        let failed = found.and_then(|id| self.all.get(id.0 as usize));
        !self.is_full()
            && failed.is_none_or(|template| {
                let failure_count = template.failure_count.load(Ordering::Relaxed);
                failure_count != 0 && is_looked_at(failure_count - 1)
            })
    }

    fn is_full(&self) -> bool {
        let per_point = size_of::<PointLayout>() + size_of::<u128>() + size_of::<SeriesHint>();
        self.all.capacity() * size_of::<Template>()
            + self.by_first_series.capacity() * size_of::<(u128, u32)>()
            + self.points.capacity() * per_point
            >= self.memory_bytes_max
    }

    /// Counts how a request fared; returns whether the memory should start afresh.
    pub(super) fn count(&self, of_request: TemplateUse) -> bool {
        if !self.is_full() {
            return false;
        }
        let hits = self.hits_since_full.fetch_add(of_request.hits, Ordering::Relaxed) + of_request.hits;
        let misses =
            self.misses_since_full.fetch_add(of_request.misses, Ordering::Relaxed) + of_request.misses;
        misses > MISSES_PER_TEMPLATE * self.all.len() as u64 && misses > MISSES_PER_HIT * hits
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.memory_bytes_max);
    }

    /// Takes a template; one that was found before in its place is forgotten.
    pub(super) fn insert(&mut self, learned: Learned) {
        let (start, point_count) = (self.points.len() as u32, learned.keys.len());
        make_room(&mut self.all, 1);
        make_room(&mut self.points, point_count);
        make_room(&mut self.keys, point_count);
        make_room(&mut self.hints, point_count);
        self.points.extend_from_slice(&learned.layout.points);
        self.keys.extend_from_slice(&learned.keys);
        self.hints.extend(learned.hints.iter().map(|hint| AtomicU64::new(hint.to_bits())));
        let MetricLayout { name, unit, metadata, kind, is_monotonic, .. } = learned.layout;
        let mut template = Template {
            source_digest: learned.source_digest,
            digest: learned.digest,
            message_bytes: learned.message_bytes,
            points: start..self.points.len() as u32,
            next: AtomicU32::new(TemplateId::NONE.0),
            failure_count: AtomicU32::new(0),
            name,
            unit,
            metadata,
            kind,
            is_monotonic,
        };
        let index = *self.by_first_series.entry(learned.identity).or_insert(self.all.len() as u32);
        match self.all.get_mut(index as usize) {
            None => self.all.push(template),
            Some(earlier) => {
                // What it was good for so far says how good this one will be.
                template.next = AtomicU32::new(*earlier.next.get_mut());
                template.failure_count = AtomicU32::new(*earlier.failure_count.get_mut());
                *earlier = template;
            }
        }
    }
}

/// A template to be, made without a lock.
#[derive(Debug)]
pub(super) struct Learned {
    layout: MetricLayout,
    keys: Vec<u128>,
    hints: Vec<SeriesHint>,
    source_digest: u128,
    digest: u128,
    message_bytes: u32,
    identity: u128,
}

impl Learned {
    /// Makes a template of a candidate, with the keys of the request's series and what the storage said about them;
    /// `None` if it has numbers in unusual places or points that were refused.
    pub(super) fn new(
        candidate: &Candidate<'_>,
        (series_keys, resolved): (&[u128], &ResolvedSeries),
        (keys, scratch): (&SeriesKeys, &mut Vec<u8>),
    ) -> Option<Self> {
        let Candidate { message, source_digest, first_series, series_count } = *candidate;
        if message.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let layout = MetricLayout::of(message).filter(|layout| layout.points.len() == series_count)?;
        let series = first_series..first_series + series_count;
        let series_keys = series_keys.get(series.clone())?;
        Some(Self {
            keys: series_keys.to_vec(),
            hints: series.map(|index| resolved.hint(index)).collect(),
            source_digest,
            digest: digest(keys, scratch, message, &layout.points),
            message_bytes: message.len() as u32,
            identity: identity(*series_keys.first()?, message.len()),
            layout,
        })
    }
}

/// A vector that doubles is half empty when it is largest.
fn make_room<T>(vector: &mut Vec<T>, count: usize) {
    if vector.capacity() - vector.len() < count {
        vector.reserve_exact(count.max(vector.len() / 4));
    }
}

/// Whether a template that failed so often in a row is looked at once more.
fn is_looked_at(failure_count: u32) -> bool {
    failure_count < FAILURES_IN_A_ROW || failure_count.is_multiple_of(FAILURES_BETWEEN_LOOKS)
}

fn identity(first_key: u128, message_bytes: usize) -> u128 {
    first_key ^ message_bytes as u128
}

/// Digest of a message without its numbers.
#[inline]
fn digest(keys: &SeriesKeys, scratch: &mut Vec<u8>, message: &[u8], points: &[PointLayout]) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(message);
    let mut rest = scratch.as_mut_slice();
    for point in points {
        let Some((region, behind)) = rest.split_at_mut_checked(usize::from(point.region_bytes)) else {
            break;
        };
        point.blank(region);
        rest = behind;
    }
    keys.key(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gauge of two points with the attributes `bytes`, which are not looked at.
    fn gauge(bytes: u8) -> Vec<u8> {
        let attribute = [7 << 3 | 2, 1, bytes];
        let number = |key: u8| [&[key][..], &1_u64.to_le_bytes()].concat();
        let point = [number(0x19), number(0x21), attribute.to_vec()].concat();
        let data = [&[0x0a, point.len() as u8][..], &point].concat().repeat(2);
        [&[0x0a, 1, b'g', 0x2a, data.len() as u8][..], &data].concat()
    }

    fn insert(templates: &mut Templates, series_key: u128) {
        let (keys, series_keys) = (SeriesKeys::from_seed(1), [series_key, series_key + 1]);
        let message = gauge(series_key as u8);
        let candidate = Candidate { message: &message, source_digest: 0, first_series: 0, series_count: 2 };
        let resolved = ResolvedSeries::default();
        let with = (&keys, &mut Vec::new());
        templates.insert(Learned::new(&candidate, (&series_keys, &resolved), with).unwrap());
    }

    #[test]
    fn a_full_memory_takes_nothing_and_starts_afresh_only_when_it_is_good_for_nothing() {
        let mut templates = Templates::new(3_000);
        let worn = TemplateUse { hits: 0, misses: 1_000 };
        let mut series_key = 0;
        while templates.wants(None) {
            assert!(!templates.count(worn), "what is not full is not worn");
            insert(&mut templates, series_key);
            series_key += 10;
        }
        let template_count = templates.all.len() as u64;
        assert!((2..20).contains(&template_count), "{template_count} templates");
        assert!(templates.find(0, &gauge(0)).is_some());
        let few = TemplateUse { hits: 0, misses: MISSES_PER_TEMPLATE * template_count };
        assert!(!templates.count(few));
        assert!(!templates.count(TemplateUse { hits: few.misses, misses: 1 }), "it is good for half of them");
        assert!(!templates.count(TemplateUse { hits: 0, misses: 3 * few.misses - 1 }));
        assert!(templates.count(TemplateUse { hits: 0, misses: 1 }));
        templates.clear();
        assert!(templates.find(0, &gauge(0)).is_none() && templates.wants(None));
        assert!(!templates.count(worn));
    }

    #[test]
    fn messages_that_are_not_plain_not_whole_or_too_long_are_no_templates() {
        let learn_of = |message: &[u8], series_count| {
            let candidate = Candidate { message, source_digest: 0, first_series: 0, series_count };
            let with = (&SeriesKeys::from_seed(1), &mut Vec::new());
            Learned::new(&candidate, (&[1, 2, 3], &ResolvedSeries::default()), with).is_some()
        };
        let learn = |message: &[u8]| learn_of(message, 2);
        let plain = gauge(7);
        assert!(learn(&plain));
        assert!(!learn_of(&plain, 1), "a point was refused: the next series is not its own");
        // A name of so many bytes before it.
        let length = MESSAGE_BYTES_MAX as u32;
        let varint = [length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8];
        let long = [&[0x0a][..], &varint, &vec![b'x'; MESSAGE_BYTES_MAX], &plain[3..]].concat();
        assert!(!learn(&long));
        for cut in 0..plain.len() {
            assert!(!learn(&plain[..cut]), "{cut} of {} bytes", plain.len());
        }
    }
}
