//! Something to look at while something takes long.

use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What is over sooner needs no words.
const PATIENCE: Duration = Duration::from_millis(700);

const FRAME: Duration = Duration::from_millis(100);

/// Waits for something, and says so on a terminal when it takes long.
pub(crate) async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    let _spinner = Spinner::start(what);
    work.await
}

/// Turns until it is dropped, whether the work was done or given up.
struct Spinner(ProgressBar);

impl Spinner {
    fn start(what: &str) -> Self {
        // It draws to stderr, and nowhere else than on a terminal.
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(FRAME);
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
