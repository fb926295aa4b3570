//! The HTTP API: the real binary, driven over real HTTP.

mod access;
mod classify;
mod models;
mod server;
