//! The HTTP API: the real binary, driven over real HTTP.

mod access;
mod classify;
mod entry_points;
mod errors;
mod models;
mod records;
mod server;
mod storm;
mod uploads;
