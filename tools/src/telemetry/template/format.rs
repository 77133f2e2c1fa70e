//! The bytes of a template file.
//!
//! Format: docs/format/template.md. Numbers are little-endian; lengths and positions are checked while they are read, so
//! that whoever has a [`Template`] may trust it.

use std::path::Path;

use crc_fast::CrcAlgorithm;

use super::{
    Item, Metric, MetricType, Model, ModelSettings, Patch, Place, Shape, Signal, Template, TemplateError,
};

pub(super) const MAGIC: [u8; 8] = *b"MYTSDBTL";
const VERSION: u16 = 1;
/// Magic, version, signal, a zero, length and checksum of the body.
const HEADER_BYTES: usize = 24;
const NO_PARENT: u32 = u32::MAX;

/// Encodes a template.
pub(super) fn encode(template: &Template) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + template.arena.len() + template.items.len() * 56);
    out.resize(HEADER_BYTES, 0);
    put_settings(&mut out, &template.settings);
    put_list(&mut out, &template.resources, |out, resource| put_blob(out, resource));
    put_list(&mut out, &template.metrics, put_metric);
    put_list(&mut out, &template.layouts, |out, layout| {
        put_list(out, layout, |out, patch| {
            out.push(number_of(&Place::ALL, patch.place));
            out.extend_from_slice(&patch.offset.to_le_bytes());
        });
    });
    put_list(&mut out, &template.items, |out, item| put_item(out, item, template.message(item, true)));
    let body_bytes = (out.len() - HEADER_BYTES) as u64;
    let checksum = checksum(&out[HEADER_BYTES..]);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[number_of(&Signal::ALL, template.signal), 0]);
    header.extend_from_slice(&body_bytes.to_le_bytes());
    header.extend_from_slice(&checksum.to_le_bytes());
    out[..HEADER_BYTES].copy_from_slice(&header);
    out
}

fn checksum(body: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, body) as u32
}

fn number_of<T: PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|other| *other == one).unwrap_or_default() as u8
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&(list.len() as u32).to_le_bytes());
    for one in list {
        put(out, one);
    }
}

fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_f64(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_settings(out: &mut Vec<u8>, settings: &ModelSettings) {
    out.extend_from_slice(&settings.seed.to_le_bytes());
    put_f64(out, settings.diurnal);
    put_f64(out, settings.noise);
    for time in [settings.restart_interval_ns, settings.lifetime_ns, settings.ramp_ns] {
        out.extend_from_slice(&time.to_le_bytes());
    }
}

fn put_metric(out: &mut Vec<u8>, metric: &Metric) {
    out.push(number_of(&MetricType::ALL, metric.metric_type));
    out.push(u8::from(metric.is_delta));
    out.push(u8::from(metric.is_integer));
    for text in [metric.name.as_bytes(), metric.unit.as_bytes(), &metric.head, &metric.tail] {
        put_blob(out, text);
    }
    let shape = &metric.shape;
    for list in [&shape.bounds, &shape.fast, &shape.slow] {
        put_list(out, list, |out, number| put_f64(out, *number));
    }
    for number in [shape.zero, shape.fast_mean, shape.slow_mean] {
        put_f64(out, number);
    }
    out.extend_from_slice(&shape.offset.to_le_bytes());
    out.extend_from_slice(&shape.scale.to_le_bytes());
}

fn put_item(out: &mut Vec<u8>, item: &Item, message: &[u8]) {
    for number in [item.resource, item.layout, item.link_bytes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    match item.model {
        Model::Series { metric, phase, first, second, shift } => {
            out.extend_from_slice(&metric.to_le_bytes());
            out.push(phase);
            for number in [first, second, shift] {
                put_f64(out, number);
            }
        }
        Model::Span { trace, span, parent, begin_back_ns, end_back_ns } => {
            for number in [trace, span, parent.unwrap_or(NO_PARENT)] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&begin_back_ns.to_le_bytes());
            out.extend_from_slice(&end_back_ns.to_le_bytes());
        }
        Model::Record => {}
    }
    put_blob(out, message);
}

/// Decodes the file of a signal.
///
/// # Errors
/// [`TemplateError`] if it is another file, of another version or signal, or damaged.
pub(super) fn decode(path: &Path, bytes: &[u8], signal: Signal) -> Result<Template, TemplateError> {
    let mut reader = Reader { path, bytes, offset: 0 };
    if !bytes.starts_with(&MAGIC) {
        let found = bytes.iter().take(MAGIC.len()).copied().collect();
        return Err(TemplateError::NotATemplate { path: path.to_owned(), found });
    }
    reader.offset = MAGIC.len();
    let version = u16::from_le_bytes(reader.array()?);
    if version != VERSION {
        return Err(TemplateError::Version { path: path.to_owned(), found: version, expected: VERSION });
    }
    let [found, zero] = reader.array()?;
    if found != number_of(&Signal::ALL, signal) || zero != 0 {
        return Err(reader.damaged(format!("it is of signal {found}, not of {signal:?}")));
    }
    let body_bytes = reader.u64()?;
    let expected = u32::from_le_bytes(reader.array()?);
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if body.len() as u64 != body_bytes {
        return Err(reader.damaged(format!("{} bytes follow where {body_bytes} should", body.len())));
    }
    let found = checksum(body);
    if found != expected {
        return Err(reader.damaged(format!("the checksum is {found:08x}, not {expected:08x}")));
    }
    let template = read_body(&mut reader, signal)?;
    if reader.offset != bytes.len() {
        return Err(reader.damaged("more follows than there should be".to_owned()));
    }
    Ok(template)
}

fn read_body(reader: &mut Reader<'_>, signal: Signal) -> Result<Template, TemplateError> {
    let mut template = Template::new(signal, read_settings(reader)?);
    template.resources = reader.list(4, |reader| reader.blob().map(<[u8]>::to_vec))?;
    template.metrics = reader.list(4, read_metric)?;
    template.layouts = reader.list(4, |reader| {
        reader.list(5, |reader| Ok(Patch { place: reader.choice(&Place::ALL)?, offset: reader.u32()? }))
    })?;
    let count = reader.count(16)?;
    template.items.reserve(count);
    for _ in 0..count {
        read_item(reader, &mut template)?;
    }
    Ok(template)
}

fn read_settings(reader: &mut Reader<'_>) -> Result<ModelSettings, TemplateError> {
    Ok(ModelSettings {
        seed: reader.u64()?,
        diurnal: reader.f64()?,
        noise: reader.f64()?,
        restart_interval_ns: reader.u64()?,
        lifetime_ns: reader.u64()?,
        ramp_ns: reader.u64()?,
    })
}

fn read_metric(reader: &mut Reader<'_>) -> Result<Metric, TemplateError> {
    let metric_type = reader.choice(&MetricType::ALL)?;
    let [is_delta, is_integer] = reader.array()?;
    let name = reader.text()?;
    let unit = reader.text()?;
    let head = reader.blob()?.to_vec();
    let tail = reader.blob()?.to_vec();
    let shape = Shape {
        bounds: reader.list(8, Reader::f64)?,
        fast: reader.list(8, Reader::f64)?,
        slow: reader.list(8, Reader::f64)?,
        zero: reader.f64()?,
        fast_mean: reader.f64()?,
        slow_mean: reader.f64()?,
        offset: reader.u32()? as i32,
        scale: reader.u32()? as i32,
    };
    let slow_count = shape.slow.len();
    if slow_count != 0 && slow_count != shape.fast.len() {
        return Err(reader.damaged(format!("{slow_count} buckets in the slow mode")));
    }
    Ok(Metric {
        name,
        unit,
        metric_type,
        is_delta: is_delta != 0,
        is_integer: is_integer != 0,
        head,
        tail,
        shape,
    })
}

fn read_item(reader: &mut Reader<'_>, template: &mut Template) -> Result<(), TemplateError> {
    let resource = reader.below(template.resources.len(), "resource")?;
    let layout = reader.below(template.layouts.len(), "layout")?;
    let link_bytes = reader.u32()?;
    let model = read_model(reader, template)?;
    let message = reader.blob()?;
    if link_bytes as usize > message.len() {
        return Err(reader.damaged(format!("{link_bytes} bytes of a link in an item of {}", message.len())));
    }
    let bucket_count = match model {
        Model::Series { metric, .. } => {
            template.metrics.get(metric as usize).map_or(0, |metric| metric.shape.fast.len())
        }
        _ => 0,
    };
    for patch in template.layouts.get(layout as usize).into_iter().flatten() {
        let end = patch.offset as usize + patch.place.width(bucket_count);
        if end > message.len() {
            return Err(reader.damaged(format!("{:?} ends beyond its item, at {end}", patch.place)));
        }
    }
    template.push(resource, layout, link_bytes, model, message);
    Ok(())
}

fn read_model(reader: &mut Reader<'_>, template: &Template) -> Result<Model, TemplateError> {
    Ok(match template.signal {
        Signal::Metrics => Model::Series {
            metric: reader.below(template.metrics.len(), "metric")?,
            phase: {
                let [phase] = reader.array()?;
                phase
            },
            first: reader.f64()?,
            second: reader.f64()?,
            shift: reader.f64()?,
        },
        Signal::Traces => {
            let trace = reader.u32()?;
            let last = template.items.last().map(|item| item.model);
            let is_next = match last {
                Some(Model::Span { trace: last, .. }) => trace == last || Some(trace) == last.checked_add(1),
                _ => trace == 0,
            };
            if !is_next {
                return Err(reader.damaged(format!("trace {trace} is out of order")));
            }
            let span = reader.u32()?;
            let parent = Some(reader.u32()?).filter(|parent| *parent != NO_PARENT);
            Model::Span { trace, span, parent, begin_back_ns: reader.u64()?, end_back_ns: reader.u64()? }
        }
        Signal::Logs => Model::Record,
    })
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self, reason: String) -> TemplateError {
        TemplateError::Damaged { path: self.path.to_owned(), offset: self.offset as u64, reason }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TemplateError> {
        let end = self.offset.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or_else(|| self.damaged(format!("{len} bytes are missing")))?;
        self.offset += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TemplateError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, TemplateError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, TemplateError> {
        self.array().map(u64::from_le_bytes)
    }

    fn f64(&mut self) -> Result<f64, TemplateError> {
        let number = f64::from_le_bytes(self.array()?);
        if number.is_finite() { Ok(number) } else { Err(self.damaged(format!("{number} is no number"))) }
    }

    fn blob(&mut self) -> Result<&'a [u8], TemplateError> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    fn text(&mut self) -> Result<String, TemplateError> {
        let bytes = self.blob()?;
        let text = std::str::from_utf8(bytes).map_err(|error| self.damaged(error.to_string()))?;
        Ok(text.to_owned())
    }

    /// A number of things of at least so many bytes each.
    fn count(&mut self, bytes_min: usize) -> Result<usize, TemplateError> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.offset) / bytes_min {
            return Err(self.damaged(format!("there cannot be {count} of them in what follows")));
        }
        Ok(count)
    }

    fn list<T>(
        &mut self,
        bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<Vec<T>, TemplateError> {
        let count = self.count(bytes_min)?;
        (0..count).map(|_| read(self)).collect()
    }

    fn choice<T: Copy>(&mut self, all: &[T]) -> Result<T, TemplateError> {
        let [number] = self.array()?;
        all.get(usize::from(number))
            .copied()
            .ok_or_else(|| self.damaged(format!("{number} is not known here")))
    }

    fn below(&mut self, count: usize, what: &str) -> Result<u32, TemplateError> {
        let number = self.u32()?;
        if (number as usize) < count {
            Ok(number)
        } else {
            Err(self.damaged(format!("{what} {number} of {count}")))
        }
    }
}
