//! What goes on the wire, byte by byte.

mod commands;
mod decoder;
mod golden;
mod limits;
mod properties;
mod samples;
mod schema;
mod stdin;
mod value;
mod values;
