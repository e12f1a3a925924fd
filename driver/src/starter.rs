//! Starts helper processes, on a thread that does nothing else.
//!
//! Not on a thread of the runtime: `exec` reads the program from a disk that may hang. Not on one of the pool's either: helpers ask
//! the kernel to be killed with their parent (PR_SET_PDEATHSIG), which means the thread that started them, and the pool ends threads
//! that are idle.

use std::io;
use std::sync::{LazyLock, mpsc};

use rustix::io::Errno;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::blocking::{self, Blocking, Dependency};

type Order = Box<dyn FnOnce() + Send>;

/// `None` when the system had no thread for it.
static STARTER: LazyLock<Option<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = mpsc::channel::<Order>();
    let run = move || taken.iter().for_each(|order| order());
    std::thread::Builder::new().name("starter".to_owned()).stack_size(256 * 1024).spawn(run).ok().map(|_| orders)
});

/// Starts `command`.
///
/// # Errors
/// What the system says; or that the program's disk hangs.
pub(crate) async fn start(blocking: &Blocking, mut command: Command) -> io::Result<Child> {
    let (on, doing) = (Dependency::Program, "starting a helper");
    let entry = blocking.begin(on.clone(), doing)?;
    let (answer, started) = oneshot::channel();
    let runtime = Handle::current();
    let order: Order = Box::new(move || {
        let (_entry, _within) = (entry, runtime.enter());
        // Whoever has given up by now drops the child, which ends it.
        let _given_up = answer.send(command.spawn());
    });
    let no_thread = || io::Error::from_raw_os_error(Errno::AGAIN.raw_os_error());
    STARTER.as_ref().ok_or_else(no_thread)?.send(order).map_err(|_| no_thread())?;
    blocking::within(on, doing, async { started.await.unwrap_or_else(|_| Err(no_thread())) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_helpers_are_children_of_one_thread_that_stays() {
        let parent = || async {
            let mut command = Command::new("sleep");
            command.arg("60").kill_on_drop(true);
            let child = start(&Blocking::default(), command).await.expect("started");
            let found = std::fs::read_dir("/proc/self/task").expect("threads").flatten().find(|thread| {
                let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                children.split_whitespace().any(|pid| pid.parse() == Ok(child.id().expect("runs")))
            });
            found.map(|thread| std::fs::read_to_string(thread.path().join("comm")).expect("name"))
        };
        for _ in 0..2 {
            assert_eq!(parent().await.as_deref(), Some("starter\n"));
        }
        let error = start(&Blocking::default(), Command::new("/no/such/program")).await.expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
