//! When an agent has ended, no process of it is left: by cgroup where one can be had, and without.
#![cfg(test)]

mod common;
mod endings;
mod lost;
mod pauses;
mod shapes;
