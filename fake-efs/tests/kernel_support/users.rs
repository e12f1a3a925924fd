//! Acting as another user. Linux keeps user and group ids by thread, so a user is a thread.

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Whom a piece of work is done as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Further groups.
    pub(crate) groups: &'static [u32],
}

impl User {
    /// A user without further groups.
    pub(crate) const fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid, groups: &[] }
    }

    /// Runs `work` as this user and hands back its result; a panic in it goes on in the caller.
    pub(crate) fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let acting = scope.spawn(move || {
                self.become_on_this_thread().expect("the lab runs as root");
                work()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn become_on_this_thread(self) -> rustix::io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        set_thread_groups(&groups)?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }
}
