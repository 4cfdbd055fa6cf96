//! Matches lines with a regular expression whose author is not trusted.
//!
//! What matches is what `regex::bytes::Regex::is_match` says of the line. That crate's time for a
//! line is bounded by the product of the line's length and the expression's size, which can be
//! minutes, and it cannot be interrupted. Here a lazy DFA is stepped through the line with looks at
//! the clock. Where the DFA gives up, the NFA may go through the line if the product is small.

use std::time::Instant;

use descartes_protocol::limits::MAX_FILTER_BYTES;
use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_automata::util::syntax;

use super::QueryError;

/// Memory that a compiled expression may take, in bytes.
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory for the states of the lazy DFA, in bytes. An expression that needs more for the few
/// states without which nothing goes gets that: less than twice as much.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The lazy DFA may drop its states so often before it has to prove that it is worth its while.
/// This and the next are what the crate `regex` uses.
const CACHE_CLEARS: usize = 3;

/// Bytes of lines for each new state, below which the lazy DFA is not worth its while.
const BYTES_PER_STATE: usize = 10;

/// States of the NFA that are stepped through, at most, from one look at the clock to the next:
/// some milliseconds.
const STEPS_BETWEEN_LOOKS: usize = 1024 * 1024;

/// States of the NFA, times bytes of a line, up to which the NFA may go through the line without a
/// look at the clock. A step was measured to take up to 6.6 ns, so this is less than 5 s; and
/// `\b\w+\s\w+` still goes through the longest lines.
const NFA_STEPS_MAX: usize = 700_000_000;

/// Why an expression is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The parser takes many times the length of an expression, so that is bounded first.
    #[error("it has {bytes} bytes, and may have {MAX_FILTER_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is no regular expression.
    #[error("{0}")]
    Invalid(String),
    /// Compiled, it takes too much memory.
    #[error("compiled, it takes more than {COMPILED_BYTES_MAX} bytes")]
    TooLarge,
    /// It would take too long on a line.
    #[error("it is too large for a line of {bytes} bytes; make it smaller")]
    TooLargeForLine {
        /// The line's length.
        bytes: usize,
    },
}

/// A compiled regular expression, and what it needs to go through lines.
pub(super) struct LineFilter {
    dfa: DFA,
    dfa_cache: dfa::Cache,
    nfa: PikeVM,
    /// Made when it is first needed, which is rare.
    nfa_cache: Option<pikevm::Cache>,
    /// Bytes that the DFA may still go through before the next look at the clock.
    until_look: usize,
}

/// What the lazy DFA says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Matches,
    Differs,
    /// It is not for this DFA: the expression has a Unicode word boundary and the line more than
    /// ASCII, or the DFA has too many states.
    Unknown,
}

impl LineFilter {
    /// Compiles an expression. The costliest ones that may be were measured to take half a second.
    ///
    /// # Errors
    /// [`FilterError`], but not [`FilterError::TooLargeForLine`].
    pub(super) fn new(expression: &str) -> Result<Self, FilterError> {
        Self::with_cache(expression, CACHE_BYTES)
    }

    fn with_cache(expression: &str, cache_bytes: usize) -> Result<Self, FilterError> {
        let compiled = compile(expression)?;
        let config = DFA::config()
            .unicode_word_boundary(true)
            .cache_capacity(cache_bytes)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CACHE_CLEARS))
            .minimum_bytes_per_state(Some(BYTES_PER_STATE));
        let mut builder = DFA::builder();
        let dfa = builder.configure(config).build_from_nfa(compiled.clone());
        let dfa = dfa.map_err(|error| FilterError::Invalid(error.to_string()))?;
        let nfa = PikeVM::new_from_nfa(compiled)
            .map_err(|error| FilterError::Invalid(error.to_string()))?;
        Ok(Self {
            dfa_cache: dfa.create_cache(),
            dfa,
            nfa,
            nfa_cache: None,
            until_look: 0,
        })
    }

    /// Whether a line matches. Takes up to 5 s longer than `deadline`, and that only where the NFA
    /// has to go through a long line.
    ///
    /// # Errors
    /// [`QueryError::TimedOut`], [`FilterError::TooLargeForLine`].
    pub(super) fn is_match(&mut self, line: &[u8], deadline: Instant) -> Result<bool, QueryError> {
        match self.step_through(line, deadline)? {
            Verdict::Matches => return Ok(true),
            Verdict::Differs => return Ok(false),
            Verdict::Unknown => {}
        }
        if self.states().saturating_mul(line.len()) > NFA_STEPS_MAX {
            let bytes = line.len();
            return Err(FilterError::TooLargeForLine { bytes }.into());
        }
        super::check(deadline)?;
        let nfa = &self.nfa;
        let cache = self.nfa_cache.get_or_insert_with(|| nfa.create_cache());
        Ok(nfa.is_match(cache, line))
    }

    /// States of the NFA: what one byte costs at worst, with the DFA as well, which has to make a
    /// state of them.
    fn states(&self) -> usize {
        self.nfa.get_nfa().states().len()
    }

    fn step_through(&mut self, line: &[u8], deadline: Instant) -> Result<Verdict, QueryError> {
        let input = Input::new(line);
        let start = self.dfa.start_state_forward(&mut self.dfa_cache, &input);
        let Ok(mut state) = start else {
            return Ok(Verdict::Unknown);
        };
        if let Some(verdict) = verdict(state) {
            return Ok(verdict);
        }
        self.dfa_cache.search_start(0);
        let mut at = 0;
        while at < line.len() {
            if self.until_look == 0 {
                super::check(deadline)?;
                self.until_look = (STEPS_BETWEEN_LOOKS / self.states()).max(1);
            }
            let end = line.len().min(at + self.until_look);
            self.until_look -= end - at;
            while at < end {
                state = match self.next(state, line[at], at) {
                    Ok(next) => next,
                    Err(verdict) => {
                        self.dfa_cache.search_finish(at);
                        return Ok(verdict);
                    }
                };
                at += 1;
            }
        }
        self.dfa_cache.search_finish(at);
        // A match shows only with what comes after it.
        let last = self.dfa.next_eoi_state(&mut self.dfa_cache, state);
        Ok(last.map_or(Verdict::Unknown, |state| {
            verdict(state).unwrap_or(Verdict::Differs)
        }))
    }

    /// The state after a byte, or what is then known of the whole line.
    #[inline]
    fn next(&mut self, state: LazyStateID, byte: u8, at: usize) -> Result<LazyStateID, Verdict> {
        let (dfa, cache) = (&self.dfa, &mut self.dfa_cache);
        let mut next = dfa.next_state_untagged(cache, state, byte);
        if next.is_unknown() {
            // So that it knows how many bytes it has gone through for how many states.
            cache.search_update(at);
            let made = dfa.next_state(cache, state, byte);
            next = made.map_err(|_| Verdict::Unknown)?;
        }
        match verdict(next) {
            None => Ok(next),
            Some(verdict) => Err(verdict),
        }
    }
}

fn compile(expression: &str) -> Result<NFA, FilterError> {
    if expression.len() > MAX_FILTER_BYTES {
        let bytes = expression.len();
        return Err(FilterError::TooLong { bytes });
    }
    // Lines may be no UTF-8, and an expression may ask for bytes that are none.
    let syntax = syntax::Config::new().utf8(false);
    let parsed = syntax::parse_with(expression, &syntax)
        .map_err(|error| FilterError::Invalid(error.to_string()))?;
    let config = NFA::config()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(COMPILED_BYTES_MAX));
    NFA::compiler()
        .configure(config)
        .build_from_hir(&parsed)
        .map_err(|error| match error.size_limit() {
            Some(_) => FilterError::TooLarge,
            None => FilterError::Invalid(error.to_string()),
        })
}

/// What a state says of the whole line; `None` as long as that depends on what follows.
#[inline]
fn verdict(state: LazyStateID) -> Option<Verdict> {
    if !state.is_tagged() {
        None
    } else if state.is_match() {
        Some(Verdict::Matches)
    } else if state.is_dead() {
        Some(Verdict::Differs)
    } else {
        Some(Verdict::Unknown)
    }
}

#[cfg(test)]
mod tests;
