//! Load for any OTLP endpoint: templates are written once, then replayed for ever.
//!
//! Reading order: [`template`] (files of encoded messages with places to patch) → [`model`] (what the values are) →
//! [`generator`] ([`settings`] → template files) → [`replay`] (templates → requests) →
//! [`sender`] (requests → any endpoint, and what became of them). [`sink`] is an endpoint that forgets, to measure senders.
//! The replay knows nothing of sending: it hands out bodies; how fast they go and what was answered is the sender's.
//!
//! Invariant: what is sent is a function of the templates, the identity of the pod, the start of the run and the time of
//! the request; so a late request is the one that would have been sent in time.

pub mod generator;
pub mod model;
pub mod replay;
pub mod sender;
pub mod settings;
pub mod sink;
pub mod template;
