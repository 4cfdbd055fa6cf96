//! What the exit code says.

/// All was done.
pub(crate) const DONE: u8 = 0;
/// The server said no, or not all agents could be done.
pub(crate) const REFUSED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// The server cannot be reached, does not let this client in, or did not answer.
pub(crate) const NO_SERVER: u8 = 3;
/// No agent is meant, or more than one.
pub(crate) const NO_AGENT: u8 = 4;
/// What stands for 1, 3 and 4 where the exit code is an agent's.
pub(crate) const OWN_FAILURE: u8 = 125;
/// Not all had ended in time, as `timeout(1)` says it.
pub(crate) const TIMED_OUT: u8 = 124;
/// Interrupted from the keyboard.
pub(crate) const INTERRUPTED: u8 = 130;
/// Nobody reads the output any more: 128 and SIGPIPE.
pub(crate) const BROKEN_PIPE: u8 = 141;
/// Above it stands the number of the signal that ended an agent.
pub(crate) const SIGNAL_BASE: i32 = 128;

/// As `--help` explains them.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    the server said no, or not everything could be done
  2    the command line is wrong
  3    the server cannot be reached, does not let this client in, or did not answer
  4    no agent is meant, or more than one
  124  not all agents have ended in time (wait --timeout)
  130  interrupted
  141  nobody reads the output

Where a command ends with an agent (spawn --wait or --follow, wait, attach), its exit code is the
agent's, or 128 and the number of the signal that ended it; 125 stands for 1, 3 and 4 then.";
