//! Trees of processes that are hard to end.

use super::common::members;

/// How many processes a [`bomb`] grows to.
pub(crate) const BOMB_PROCESSES: usize = 500;

/// A tree of processes. All of them have `token` in their command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The agent and a child, both of which ignore the usual signals.
    Deaf,
    /// Sessions of their own, double forks, ignored signals, cleared environments.
    Family,
    /// The same, and every member carries the agent's environment.
    Marked,
    /// Five hundred processes that take each other's place when they are killed singly.
    Bomb,
    /// A chain of children, each the only one who knows of the next, with cleared environments.
    Chain,
    /// Cleared environments from the first process on, in its session. One has another parent.
    Nameless,
}

impl Shape {
    /// A script that starts the tree, prints `ready` when all of it is there, and does `then`.
    pub(crate) fn script(self, token: &str, then: &str) -> String {
        match self {
            Self::Deaf => deaf(token, then),
            Self::Family => family(token, then, "env -i"),
            Self::Marked => family(token, then, "env"),
            Self::Bomb => bomb(token, then),
            Self::Chain => chain(token, then),
            Self::Nameless => nameless(token, then),
        }
    }

    /// Fails if the tree is not there.
    pub(crate) fn assert_is_there(self, token: &str) {
        let least = match self {
            Self::Deaf | Self::Nameless => 2,
            Self::Family | Self::Marked => 6,
            Self::Bomb => BOMB_PROCESSES,
            Self::Chain => 8,
        };
        let there = members(token).len();
        assert!(there >= least, "{self:?}: {there} of {least}");
    }
}

fn deaf(token: &str, then: &str) -> String {
    format!(
        "trap '' TERM HUP INT
         sleep 1000.{token} &
         {count} -ge 1 ]; do sleep 0.02; done
         echo ready
         {then}",
        count = until_sleepers(token),
    )
}

fn family(token: &str, then: &str, env: &str) -> String {
    format!(
        "( trap '' TERM HUP INT; exec setsid sleep 1000.{token} ) &
         ( ( setsid sh -c 'trap \"\" TERM; sleep 1001.{token} & sleep 1002.{token}' & ) & )
         ( {env} setsid sh -c 'trap \"\" TERM; sleep 1003.{token} & sleep 1004.{token}' & )
         nohup sleep 1005.{token} >/dev/null 2>&1 &
         {count} -ge 6 ]; do sleep 0.02; done
         echo ready
         {then}",
        count = until_sleepers(token),
    )
}

/// In each of 166 slots a guard that starts a keeper that starts a sleeper, and starts it again
/// when it dies. So it never has more than 499 processes beside the first.
fn bomb(token: &str, then: &str) -> String {
    let slots = BOMB_PROCESSES / 3;
    format!(
        "trap '' TERM HUP INT
         i=0
         while [ $i -lt {slots} ]; do
             i=$((i+1))
             ( while :; do ( while :; do sleep 1000.{token}; done ); done ) 2>/dev/null &
         done
         sleep 1001.{token} & sleep 1002.{token} &
         {count} -ge {sleepers} ]; do sleep 0.1; done
         echo ready
         {then}",
        sleepers = slots + 2,
        count = until_sleepers(token),
    )
}

fn chain(token: &str, then: &str) -> String {
    let next = "[ $1 -eq 0 ] || env -i PATH=\"$PATH\" sh -c \"$0\" \"$0\" $(($1 - 1)) $2 & \
                sleep 1000.$2; :";
    format!(
        "sh -c '{next}' '{next}' 7 {token} &
         {count} -ge 8 ]; do sleep 0.02; done
         echo ready
         {then}",
        count = until_sleepers(token),
    )
}

fn nameless(token: &str, then: &str) -> String {
    format!(
        "script=$(cat <<'END'
             trap '' TERM HUP INT
             sleep 1000.{token} &
             ( sleep 1001.{token} & )
             {count} -ge 2 ]; do sleep 0.02; done
             echo ready
             {then}
END
         )
         exec env -i PATH=\"$PATH\" sh -c \"$script\"",
        count = until_sleepers(token),
    )
}

/// The beginning of a loop that lasts until enough processes are a `sleep` of this test.
fn until_sleepers(token: &str) -> String {
    format!("until [ $(grep -lsaE '^sleep.100[0-9]\\.{token}' /proc/[0-9]*/cmdline | wc -l)")
}
