//! Core dumps: a copy of a process's memory on a disk of the node, with its keys, credentials and tokens.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Has the kernel write none for this process and its children. Best effort: where it can't be set, everything else still works.
pub fn forbid() {
    // A limit of 0 keeps them from files only. With 1 the kernel also starts no program for them (core(5), core_pattern with a pipe;
    // do_coredump of fs/coredump.c takes it for a handler of core dumps that has crashed itself).
    const NONE: u64 = 1;
    let maximum = getrlimit(Resource::Core).maximum;
    let wanted = maximum.map_or(NONE, |maximum| maximum.min(NONE));
    let _best_effort = setrlimit(Resource::Core, Rlimit { current: Some(wanted), maximum: Some(wanted) });
}
