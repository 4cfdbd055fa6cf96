//! A process that is no agent.

use std::process::{Child, Command};

use descartes_shim::tree::Process;

/// A process that has nothing to do with any agent, and is killed when this is dropped.
#[derive(Debug)]
pub struct Stranger(Child);

impl Stranger {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no `sleep`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a process that is no agent")]
    pub fn start() -> Self {
        match Command::new("sleep").arg("1000").spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("sleep: {error}"),
        }
    }

    /// The process, as it is now: dead if somebody killed it.
    ///
    /// # Panics
    /// If `/proc` cannot be read.
    #[must_use]
    pub fn process(&self) -> Process {
        let process = Process::read(self.0.id().cast_signed());
        // Nobody reaps it before it is dropped.
        process.unwrap_or_else(|| panic!("/proc does not show {:?}", self.0))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
