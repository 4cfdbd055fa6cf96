//! The `descartes-shim` program: the template that the Descartes server forks shims from.
//!
//! It is started by the server and by nothing else; the library's constructor has already taken
//! over by the time `main` would run.

use std::process::ExitCode;

#[expect(
    clippy::print_stderr,
    reason = "somebody started this by hand at a terminal"
)]
fn main() -> ExitCode {
    // Referring to the library keeps its constructor in this program.
    descartes_shim::template::run_if_asked();
    eprintln!(
        "descartes-shim {}: started by descartes-server, one per agent; there is nothing to run by hand",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(64)
}
