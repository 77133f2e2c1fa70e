//! Integration tests: a real server on port 0, asked over the network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod crash;
mod damage;
mod dashboard;
mod endpoints;
mod flight;
mod flight_export;
mod flight_sql;
mod gateway;
mod grpc_server;
mod lifecycle;
mod limits;
mod openapi;
mod otlp;
mod otlp_events;
mod otlp_http;
mod prom_api;
mod queries;
mod query_safety;
mod remote_write;
mod remote_write_v2;
mod support;
mod tidy;
