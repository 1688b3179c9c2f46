//! Each package of the allow-list does its main job: scripts that use it, against servers of the tests' own.
//!
//! The packages must be installed and bundled: `make packages`.

mod data;
mod files;
mod ftp_server;
mod harness;
mod http_server;
mod knex;
mod network;
mod services;
mod zip_file;
