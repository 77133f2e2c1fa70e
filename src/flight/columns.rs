//! Arrow columns of any allowed type as the three shapes that ingest works on: times, values, texts.
//!
//! Input: arrays as they came. Output: milliseconds, `f64`, text per row. Columns that already have the right type
//! are shared, not copied. Not here: which column is what (see [`super::schema`]).

use arrow::array::{
    Array, ArrayRef, AsArray, Date64Array, LargeStringArray, PrimitiveArray, RunArray, StringArray,
    StringViewArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, RunEndIndexType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

/// Types allowed for times.
pub(super) const TIMESTAMP_TYPES: &str = "Timestamp(s, ms, us or ns, with or without time zone), Date64, Int64 (milliseconds, or as metadata unit = s, ms, us or ns says) or a run-end-encoding of them";
/// Types allowed for values.
pub(super) const VALUE_TYPES: &str = "Float64, Float32, an integer type or a run-end-encoding of them";

/// Field metadata with the unit of integer times.
const UNIT_KEY: &str = "unit";

/// Why a column of a batch cannot be used, although its type was allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ColumnError {
    /// The unit in the field's metadata is none.
    #[error("column {column:?}: metadata unit is {found:?}; allowed is s, ms, us or ns")]
    Unit {
        /// The column.
        column: String,
        /// The word found.
        found: String,
    },
    /// The type is not what the schema promised.
    #[error("column {column:?} has unexpected type {found}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// Arrow refuses a conversion.
    #[error("column {column:?}: {source}")]
    Arrow {
        /// The column.
        column: String,
        /// What Arrow says.
        source: arrow::error::ArrowError,
    },
}

/// Numbers of one column; a null has an arbitrary number.
#[derive(Debug, Clone)]
pub(super) struct Numbers<T: arrow::datatypes::ArrowNativeType> {
    /// One per row.
    pub(super) numbers: ScalarBuffer<T>,
    /// Which rows have one.
    pub(super) nulls: Option<NullBuffer>,
}

impl<T: arrow::datatypes::ArrowNativeType> Numbers<T> {
    /// Returns whether the row holds no number.
    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Returns whether every row holds a number.
    pub(super) fn is_complete(&self) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.null_count() == 0)
    }

    fn from_array<A: ArrowPrimitiveType<Native = T>>(array: &PrimitiveArray<A>) -> Self {
        Self { numbers: array.values().clone(), nulls: array.nulls().cloned() }
    }
}

/// The type of a row: that of the values of a run-end-encoded column.
fn row_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::RunEndEncoded(_, values) => values.data_type(),
        kind => kind,
    }
}

/// Returns whether a column of this type can hold times.
pub(super) fn is_timestamp(kind: &DataType) -> bool {
    matches!(row_type(kind), DataType::Timestamp(..) | DataType::Date64 | DataType::Int64)
}

/// Returns whether a column of this type can hold values.
pub(super) fn is_value(kind: &DataType) -> bool {
    is_float(kind) || row_type(kind).is_integer()
}

/// Returns whether a column of this type holds floats.
pub(super) fn is_float(kind: &DataType) -> bool {
    matches!(row_type(kind), DataType::Float64 | DataType::Float32)
}

/// Returns whether a column of this type can hold text.
pub(super) fn is_text(kind: &DataType) -> bool {
    match row_type(kind) {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => {
            matches!(**values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}

/// Returns whether a column of this type is a map of text to text, or the list of pairs that some libraries make of it.
pub(super) fn is_text_map(kind: &DataType) -> bool {
    let (DataType::Map(entries, _) | DataType::List(entries) | DataType::LargeList(entries)) = kind else {
        return false;
    };
    let DataType::Struct(fields) = entries.data_type() else { return false };
    fields.len() == 2 && fields.iter().all(|field| is_text(field.data_type()))
}

/// The type of the items, if this is a list type that ingest takes.
pub(super) fn list_item(kind: &DataType) -> Option<&DataType> {
    match kind {
        DataType::List(item) | DataType::LargeList(item) => Some(item.data_type()),
        _ => None,
    }
}

/// Times in milliseconds since the Unix epoch; smaller units are rounded down, what does not fit is null.
pub(super) fn timestamps_ms(array: &ArrayRef, field: &Field) -> Result<Numbers<i64>, ColumnError> {
    if let Some(rows) = without_runs(array, field)? {
        return timestamps_ms(&rows, field);
    }
    let unit = match array.data_type() {
        DataType::Timestamp(unit, _) => *unit,
        DataType::Date64 => TimeUnit::Millisecond,
        DataType::Int64 => integer_unit(field)?,
        found => return Err(ColumnError::Type { column: field.name().clone(), found: found.to_string() }),
    };
    let raw = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            Numbers::from_array(array.as_primitive::<TimestampSecondType>())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Numbers::from_array(array.as_primitive::<TimestampMillisecondType>())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Numbers::from_array(array.as_primitive::<TimestampMicrosecondType>())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Numbers::from_array(array.as_primitive::<TimestampNanosecondType>())
        }
        DataType::Date64 => {
            let dates: &Date64Array = array.as_primitive();
            Numbers::from_array(dates)
        }
        _ => Numbers::from_array(array.as_primitive::<Int64Type>()),
    };
    Ok(to_milliseconds(raw, unit))
}

fn integer_unit(field: &Field) -> Result<TimeUnit, ColumnError> {
    match field.metadata().get(UNIT_KEY).map(String::as_str) {
        None | Some("ms") => Ok(TimeUnit::Millisecond),
        Some("s") => Ok(TimeUnit::Second),
        Some("us") => Ok(TimeUnit::Microsecond),
        Some("ns") => Ok(TimeUnit::Nanosecond),
        Some(found) => Err(ColumnError::Unit { column: field.name().clone(), found: found.to_owned() }),
    }
}

fn to_milliseconds(raw: Numbers<i64>, unit: TimeUnit) -> Numbers<i64> {
    let divisor = match unit {
        TimeUnit::Millisecond => return raw,
        TimeUnit::Second => return seconds_to_milliseconds(&raw),
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1_000_000,
    };
    let numbers: Vec<i64> = raw.numbers.iter().map(|time| time.div_euclid(divisor)).collect();
    Numbers { numbers: numbers.into(), nulls: raw.nulls }
}

fn seconds_to_milliseconds(raw: &Numbers<i64>) -> Numbers<i64> {
    let seconds = PrimitiveArray::<Int64Type>::new(raw.numbers.clone(), raw.nulls.clone());
    let milliseconds: PrimitiveArray<Int64Type> = seconds.unary_opt(|time| time.checked_mul(1_000));
    Numbers::from_array(&milliseconds)
}

/// Values as `f64`; `Float64` keeps its bits.
pub(super) fn values(array: &ArrayRef, field: &Field) -> Result<Numbers<f64>, ColumnError> {
    macro_rules! converted {
        ($kind:ty) => {{
            let array = array.as_primitive::<$kind>();
            let numbers: Vec<f64> = array.values().iter().map(|number| *number as f64).collect();
            Ok(Numbers { numbers: numbers.into(), nulls: array.nulls().cloned() })
        }};
    }
    if let Some(rows) = without_runs(array, field)? {
        return values(&rows, field);
    }
    match array.data_type() {
        DataType::Float64 => Ok(Numbers::from_array(array.as_primitive::<Float64Type>())),
        DataType::Float32 => converted!(Float32Type),
        DataType::Int64 => converted!(Int64Type),
        DataType::Int32 => converted!(Int32Type),
        DataType::Int16 => converted!(Int16Type),
        DataType::Int8 => converted!(Int8Type),
        DataType::UInt64 => converted!(UInt64Type),
        DataType::UInt32 => converted!(UInt32Type),
        DataType::UInt16 => converted!(UInt16Type),
        DataType::UInt8 => converted!(UInt8Type),
        found => Err(ColumnError::Type { column: field.name().clone(), found: found.to_string() }),
    }
}

/// The rows of a run-end-encoded column; `None` if it is another one.
fn without_runs(array: &ArrayRef, field: &Field) -> Result<Option<ArrayRef>, ColumnError> {
    let Some((run_of_row, runs)) = runs(array) else { return Ok(None) };
    let taken = take(&runs, &run_of_row, None);
    taken.map(Some).map_err(|source| ColumnError::Arrow { column: field.name().clone(), source })
}

/// The run of every row and the values of the runs, if the column is run-end-encoded.
fn runs(array: &ArrayRef) -> Option<(UInt32Array, ArrayRef)> {
    fn of<R: RunEndIndexType>(array: &ArrayRef) -> Option<(UInt32Array, ArrayRef)> {
        let array = array.as_any().downcast_ref::<RunArray<R>>()?;
        let ends = array.run_ends();
        let mut run_of_row = Vec::with_capacity(ends.len());
        let mut run = ends.get_start_physical_index();
        for row in ends.offset()..ends.offset() + ends.len() {
            // Arrow has checked that the ends ascend and reach the last row.
            while ends.values().get(run).is_some_and(|end| end.as_usize() <= row) {
                run += 1;
            }
            run_of_row.push(run as u32);
        }
        Some((run_of_row.into(), array.values().clone()))
    }
    of::<Int32Type>(array).or_else(|| of::<Int64Type>(array)).or_else(|| of::<Int16Type>(array))
}

/// Text of any allowed type, without a dictionary.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    /// 32-bit offsets.
    Utf8(StringArray),
    /// 64-bit offsets.
    Large(LargeStringArray),
    /// Views.
    View(StringViewArray),
    /// Nothing but nulls.
    Null,
}

impl Texts {
    fn new(array: &ArrayRef, column: &str) -> Result<Self, ColumnError> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Utf8(array.as_string::<i32>().clone())),
            DataType::LargeUtf8 => Ok(Self::Large(array.as_string::<i64>().clone())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view().clone())),
            DataType::Null => Ok(Self::Null),
            found => Err(ColumnError::Type { column: column.to_owned(), found: found.to_string() }),
        }
    }

    /// The text at `index`; a null is empty, as in a label set.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &str {
        match self {
            Self::Utf8(texts) if texts.is_valid(index) => texts.value(index),
            Self::Large(texts) if texts.is_valid(index) => texts.value(index),
            Self::View(texts) if texts.is_valid(index) => texts.value(index),
            _ => "",
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Utf8(texts) => texts.len(),
            Self::Large(texts) => texts.len(),
            Self::View(texts) => texts.len(),
            Self::Null => 0,
        }
    }
}

/// Text per row, perhaps through a dictionary.
#[derive(Debug, Clone)]
pub(super) struct TextColumn {
    ids: Option<UInt32Array>,
    texts: Texts,
}

impl TextColumn {
    /// Takes a text or dictionary column apart.
    pub(super) fn new(array: &ArrayRef, column: &str) -> Result<Self, ColumnError> {
        if let Some((run_of_row, runs)) = runs(array) {
            return Self::new(&runs, column)?.taken(&run_of_row, column);
        }
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return Ok(Self { ids: None, texts: Texts::new(array, column)? });
        };
        let ids = cast(dictionary.keys(), &DataType::UInt32)
            .map_err(|source| ColumnError::Arrow { column: column.to_owned(), source })?;
        let texts = Texts::new(dictionary.values(), column)?;
        Ok(Self { ids: Some(ids.as_primitive::<UInt32Type>().clone()), texts })
    }

    /// The column whose row `i` is this one's row `rows[i]`.
    fn taken(self, rows: &UInt32Array, column: &str) -> Result<Self, ColumnError> {
        let ids = match &self.ids {
            None => rows.clone(),
            Some(ids) => take(ids, rows, None)
                .map_err(|source| ColumnError::Arrow { column: column.to_owned(), source })?
                .as_primitive::<UInt32Type>()
                .clone(),
        };
        Ok(Self { ids: Some(ids), texts: self.texts })
    }

    /// The text of a row; a null is empty.
    #[inline]
    pub(super) fn get(&self, row: usize) -> &str {
        match &self.ids {
            None => self.texts.get(row),
            Some(ids) if ids.is_valid(row) => self.texts.get(ids.value(row) as usize),
            Some(_) => "",
        }
    }

    /// The dictionary: an id per row (null = no text) and its texts.
    pub(super) fn dictionary(&self) -> Option<(&UInt32Array, &Texts, usize)> {
        self.ids.as_ref().map(|ids| (ids, &self.texts, self.texts.len()))
    }

    /// The raw array, if it is plain `Utf8` without nulls.
    pub(super) fn plain(&self) -> Option<&StringArray> {
        match (&self.ids, &self.texts) {
            (None, Texts::Utf8(texts)) if texts.null_count() == 0 => Some(texts),
            _ => None,
        }
    }
}

/// A column with a map of labels per row.
#[derive(Debug, Clone)]
pub(super) struct MapColumn {
    offsets: MapOffsets,
    nulls: Option<NullBuffer>,
    /// Label names of all entries.
    pub(super) names: TextColumn,
    /// Label values of all entries.
    pub(super) texts: TextColumn,
}

/// Per row where its entries begin, and where the last one's end.
#[derive(Debug, Clone)]
enum MapOffsets {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
}

impl MapColumn {
    /// Takes a map column, or a list of pairs, apart.
    pub(super) fn new(array: &ArrayRef, column: &str) -> Result<Self, ColumnError> {
        let unexpected =
            || ColumnError::Type { column: column.to_owned(), found: array.data_type().to_string() };
        let (offsets, entries) = if let Some(map) = array.as_map_opt() {
            (MapOffsets::Small(map.offsets().clone()), map.entries().clone())
        } else if let Some(list) = array.as_list_opt::<i32>() {
            let entries = list.values().as_struct_opt().ok_or_else(unexpected)?.clone();
            (MapOffsets::Small(list.offsets().clone()), entries)
        } else {
            let list = array.as_list_opt::<i64>().ok_or_else(unexpected)?;
            let entries = list.values().as_struct_opt().ok_or_else(unexpected)?.clone();
            (MapOffsets::Large(list.offsets().clone()), entries)
        };
        let [names, texts] = entries.columns() else { return Err(unexpected()) };
        Ok(Self {
            offsets,
            nulls: array.nulls().cloned(),
            names: TextColumn::new(names, column)?,
            texts: TextColumn::new(texts, column)?,
        })
    }

    /// The entries of a row, as positions in `names` and `texts`; empty for a null.
    #[inline]
    pub(super) fn entries(&self, row: usize) -> std::ops::Range<usize> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return 0..0;
        }
        match &self.offsets {
            MapOffsets::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            MapOffsets::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        DictionaryArray, Int16Array, Int64Array, TimestampNanosecondArray, TimestampSecondArray,
    };

    use super::*;

    fn field() -> Field {
        Field::new("timestamp", DataType::Int64, true)
    }

    #[test]
    fn every_unit_of_time_becomes_milliseconds_rounded_down() {
        let nanoseconds: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_999_999, -1]));
        assert_eq!(*timestamps_ms(&nanoseconds, &field()).unwrap().numbers, [1, -1]);
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![5_000]));
        for (unit, expected) in [("s", 5_000_000), ("ms", 5_000), ("us", 5), ("ns", 0)] {
            let field = field()
                .with_metadata(std::collections::HashMap::from([("unit".to_owned(), unit.to_owned())]));
            assert_eq!(*timestamps_ms(&integers, &field).unwrap().numbers, [expected], "{unit}");
        }
        let wrong =
            field().with_metadata(std::collections::HashMap::from([("unit".to_owned(), "h".to_owned())]));
        assert!(timestamps_ms(&integers, &wrong).unwrap_err().to_string().contains("\"h\""));
    }

    #[test]
    fn seconds_that_overflow_milliseconds_are_null() {
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(7), Some(i64::MAX), None]));
        let times = timestamps_ms(&seconds, &field()).unwrap();
        assert_eq!(times.numbers[0], 7_000);
        assert!(!times.is_null(0) && times.is_null(1) && times.is_null(2));
    }

    #[test]
    fn runs_are_unrolled_also_of_slices_and_dictionaries() {
        let ends = Int16Array::from(vec![2, 3, 6]);
        let times: ArrayRef =
            Arc::new(RunArray::try_new(&ends, &Int64Array::from(vec![Some(5), None, Some(7)])).unwrap());
        let found = timestamps_ms(&times.slice(1, 4), &field()).unwrap();
        let rows: Vec<_> = (0..4).map(|row| (!found.is_null(row)).then_some(found.numbers[row])).collect();
        assert_eq!(rows, [Some(5), None, Some(7), Some(7)]);
        let names: DictionaryArray<Int32Type> = [Some("a"), None, Some("b")].into_iter().collect();
        let texts: ArrayRef = Arc::new(RunArray::try_new(&ends, &names).unwrap());
        assert!(is_text(texts.data_type()) && !is_value(texts.data_type()));
        let column = TextColumn::new(&texts, "host").unwrap();
        assert_eq!((0..6).map(|row| column.get(row)).collect::<Vec<_>>(), ["a", "a", "", "b", "b", "b"]);
    }

    #[test]
    fn milliseconds_and_doubles_are_shared_not_copied() {
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let shared = timestamps_ms(&times, &field()).unwrap();
        assert_eq!(shared.numbers.as_ptr(), times.as_primitive::<Int64Type>().values().as_ptr());
    }
}
