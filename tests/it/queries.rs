//! From remote write to PromQL and back as JSON.
