//! Evaluates matchers over postings, cheapest first; the same rules for the head and for blocks.
//!
//! A series without the label has the value `""`. With P = series whose label has a matching value and
//! H = series that have the label at all, and "absent matches" meaning that `""` satisfies the matcher:
//!
//! | operator | absent matches | result |
//! |---|---|---|
//! | `=`, `=~` | no | ∩ P |
//! | `=`, `=~` | yes | − (H − P) |
//! | `!=`, `!~` | yes | − P |
//! | `!=`, `!~` | no | ∩ (H − P) |

use roaring::RoaringBitmap;

use crate::model::Matcher;
use crate::model::pattern::Pattern;

/// Looking up the postings of label pairs.
pub(crate) trait Terms {
    /// What may go wrong.
    type Error;

    /// All series.
    fn all(&self) -> RoaringBitmap;

    /// The series that have a label `name`.
    fn series_with_label(&self, name: &str) -> Result<RoaringBitmap, Self::Error>;

    /// The series in which label `name` has one of `values`, which are sorted.
    fn series_with_values(&self, name: &str, values: &[&str]) -> Result<RoaringBitmap, Self::Error>;

    /// The series in which label `name` has a value that satisfies `pattern`. Of these only the ones in
    /// `candidates` are asked for, if given; others may be in the result.
    fn series_with_pattern(
        &self,
        name: &str,
        pattern: &Pattern,
        candidates: Option<&RoaringBitmap>,
    ) -> Result<RoaringBitmap, Self::Error>;
}

/// What a matcher costs, by kind; cheap ones run first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// One exact look-up.
    Value,
    /// Some exact look-ups.
    Values,
    /// No look-up of values, but hardly selective.
    Label,
    /// A range of the dictionary.
    Range,
    /// Every value of the dictionary.
    Scan,
}

fn cost(matcher: &Matcher) -> Cost {
    match matcher.pattern() {
        None => Cost::Value,
        Some(Pattern::Literals(literals)) if literals.len() == 1 => Cost::Value,
        Some(Pattern::Literals(_)) => Cost::Values,
        Some(Pattern::Everything | Pattern::NonEmpty) => Cost::Label,
        Some(pattern) if !pattern.prefix().is_empty() => Cost::Range,
        Some(_) => Cost::Scan,
    }
}

/// How a matcher changes the result.
enum Change {
    /// Keep these only.
    Keep(RoaringBitmap),
    /// Take these away.
    Remove(RoaringBitmap),
    /// Nothing.
    Nothing,
}

/// Returns the series that satisfy all `matchers`; all series if there are none.
///
/// # Errors
/// Those of `terms`.
pub(crate) fn select<T: Terms>(terms: &T, matchers: &[Matcher]) -> Result<RoaringBitmap, T::Error> {
    let mut ordered: Vec<(bool, Cost, &Matcher)> = matchers
        .iter()
        .map(|matcher| {
            // What only takes away, or keeps nearly all, gains from what others have left.
            let is_selective = !matcher.is_negated() && !matcher.matches_absent();
            (!is_selective, cost(matcher), matcher)
        })
        .collect();
    ordered.sort_by_key(|(is_late, cost, _)| (*is_late, *cost));
    let mut selected: Option<RoaringBitmap> = None;
    for (_, _, matcher) in ordered {
        if selected.as_ref().is_some_and(RoaringBitmap::is_empty) {
            break;
        }
        match change(terms, matcher, selected.as_ref())? {
            Change::Keep(series) => match &mut selected {
                Some(selected) => *selected &= series,
                None => selected = Some(series),
            },
            Change::Remove(series) => *selected.get_or_insert_with(|| terms.all()) -= series,
            Change::Nothing => {}
        }
    }
    Ok(selected.unwrap_or_else(|| terms.all()))
}

fn change<T: Terms>(
    terms: &T,
    matcher: &Matcher,
    candidates: Option<&RoaringBitmap>,
) -> Result<Change, T::Error> {
    let name = matcher.name();
    let absent_matches = matcher.matches_absent();
    if let Some(Pattern::Everything) = matcher.pattern() {
        return Ok(if matcher.is_negated() { Change::Keep(RoaringBitmap::new()) } else { Change::Nothing });
    }
    Ok(match (matcher.is_negated(), absent_matches) {
        (false, false) => Change::Keep(matching(terms, matcher, candidates)?),
        (true, true) => Change::Remove(matching(terms, matcher, candidates)?),
        (false, true) => {
            Change::Remove(terms.series_with_label(name)? - matching(terms, matcher, candidates)?)
        }
        (true, false) => Change::Keep(terms.series_with_label(name)? - matching(terms, matcher, candidates)?),
    })
}

/// Returns P: the series whose label has a value that matches, whatever the operator makes of it.
fn matching<T: Terms>(
    terms: &T,
    matcher: &Matcher,
    candidates: Option<&RoaringBitmap>,
) -> Result<RoaringBitmap, T::Error> {
    let name = matcher.name();
    match matcher.pattern() {
        None => terms.series_with_values(name, &[matcher.value()]),
        Some(Pattern::Literals(literals)) => {
            let values: Vec<&str> = literals.iter().map(String::as_str).collect();
            terms.series_with_values(name, &values)
        }
        Some(Pattern::Everything | Pattern::NonEmpty) => terms.series_with_label(name),
        Some(pattern) => terms.series_with_pattern(name, pattern, candidates),
    }
}

/// Collects the union of many postings, mostly short ones.
#[derive(Debug, Default)]
pub(crate) struct Union<'a> {
    ids: Vec<u32>,
    bitmap: RoaringBitmap,
    /// Others need not be collected.
    candidates: Option<&'a RoaringBitmap>,
}

impl<'a> Union<'a> {
    /// Collects only what is in `candidates`, if given.
    pub(crate) fn within(candidates: Option<&'a RoaringBitmap>) -> Self {
        Self { candidates, ..Self::default() }
    }

    /// Adds one series.
    #[inline]
    pub(crate) fn push(&mut self, id: u32) {
        if self.candidates.is_none_or(|candidates| candidates.contains(id)) {
            self.ids.push(id);
        }
    }

    /// Adds the series of a bitmap.
    pub(crate) fn add(&mut self, bitmap: &RoaringBitmap) {
        match self.candidates {
            None => self.bitmap |= bitmap,
            Some(candidates) => self.bitmap |= bitmap & candidates,
        }
    }

    /// Returns all that was added.
    pub(crate) fn finish(mut self) -> RoaringBitmap {
        self.ids.sort_unstable();
        self.ids.dedup();
        // Sorted and distinct, so this cannot fail.
        let ids = RoaringBitmap::from_sorted_iter(self.ids).unwrap_or_default();
        if self.bitmap.is_empty() { ids } else { self.bitmap | ids }
    }
}
