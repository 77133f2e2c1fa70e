//! Arrow columns of any allowed type as the three shapes that ingest works on: times, values, texts.
//!
//! Input: arrays as they came. Output: milliseconds, `f64`, text per row. Columns that already have the right type
//! are shared, not copied. Not here: which column is what (see [`super::schema`]).

use arrow::array::{
    Array, ArrayRef, AsArray, Date64Array, LargeStringArray, MapArray, PrimitiveArray, StringArray,
    StringViewArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

/// Types allowed for times.
pub(super) const TIMESTAMP_TYPES: &str = "Timestamp(s, ms, us or ns, with or without time zone), Date64 or Int64 (milliseconds, or as metadata unit = s, ms, us or ns says)";
/// Types allowed for values.
pub(super) const VALUE_TYPES: &str = "Float64, Float32 or an integer type";

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

/// Returns whether a column of this type can hold times.
pub(super) fn is_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date64 | DataType::Int64)
}

/// Returns whether a column of this type can hold values.
pub(super) fn is_value(kind: &DataType) -> bool {
    matches!(kind, DataType::Float64 | DataType::Float32) || kind.is_integer()
}

/// Returns whether a column of this type can hold text.
pub(super) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => {
            matches!(**values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}

/// Returns whether a column of this type is a map of text to text.
pub(super) fn is_text_map(kind: &DataType) -> bool {
    let DataType::Map(entries, _) = kind else { return false };
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
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return Ok(Self { ids: None, texts: Texts::new(array, column)? });
        };
        let ids = cast(dictionary.keys(), &DataType::UInt32)
            .map_err(|source| ColumnError::Arrow { column: column.to_owned(), source })?;
        let texts = Texts::new(dictionary.values(), column)?;
        Ok(Self { ids: Some(ids.as_primitive::<UInt32Type>().clone()), texts })
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
    map: MapArray,
    /// Label names of all entries.
    pub(super) names: TextColumn,
    /// Label values of all entries.
    pub(super) texts: TextColumn,
}

impl MapColumn {
    /// Takes a map column apart.
    pub(super) fn new(array: &ArrayRef, column: &str) -> Result<Self, ColumnError> {
        let map = array.as_map_opt().ok_or_else(|| ColumnError::Type {
            column: column.to_owned(),
            found: array.data_type().to_string(),
        })?;
        Ok(Self {
            names: TextColumn::new(map.keys(), column)?,
            texts: TextColumn::new(map.values(), column)?,
            map: map.clone(),
        })
    }

    /// The entries of a row, as positions in `names` and `texts`; empty for a null.
    #[inline]
    pub(super) fn entries(&self, row: usize) -> std::ops::Range<usize> {
        if self.map.is_null(row) {
            return 0..0;
        }
        let offsets = self.map.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampNanosecondArray, TimestampSecondArray};

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
    fn milliseconds_and_doubles_are_shared_not_copied() {
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let shared = timestamps_ms(&times, &field()).unwrap();
        assert_eq!(shared.numbers.as_ptr(), times.as_primitive::<Int64Type>().values().as_ptr());
    }
}
