//! A socket that its process keeps at its path for as long as nobody else serves it there.
//!
//! During an upgrade the successor puts its own socket in this one's place. Should it die, its socket stays and answers nobody;
//! so whoever is left looks every half second, and binds the path again when nothing listens behind it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use efs_common::open_files::{OutOfFiles, Spare};
use futures::Stream;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{BindError, SocketFile, bind};
use crate::blocking::Blocking;

/// How often the path is looked at: whoever finds a dead socket there tries again within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause before the next attempt to have a socket at all.
const BIND_EVERY: Duration = Duration::from_secs(1);
/// Removing a path takes no time on a disk that answers.
const REMOVE_WITHIN: Duration = Duration::from_secs(1);
/// Pause after the process ran out of file descriptors for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket at a fixed path; a stream of its connections. Dropped, it is removed from the path, unless a successor is there.
#[derive(Debug)]
pub struct KeptSocket {
    connections: mpsc::Receiver<UnixStream>,
    place: Place,
    _stop: DropGuard,
}

/// The path of a [`KeptSocket`], and who is there.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    mode: u32,
    /// `None` once the socket has ended.
    file: Arc<Mutex<Option<SocketFile>>>,
    /// A copy of the listening socket, for those that are to hold it when this process ends.
    copy: watch::Receiver<Arc<OwnedFd>>,
    /// Why nobody can connect, if that is so.
    trouble: watch::Receiver<Option<String>>,
}

impl KeptSocket {
    /// Binds `path` with the permission bits `mode`, and keeps it.
    ///
    /// # Errors
    /// When something that is not a socket is in the way, or the system refuses.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let (listener, file) = bind(path, mode)?;
        let copy = copy_of(&listener).map_err(|source| BindError::System { path: path.to_owned(), source })?;
        Ok(Self::start(listener, file, mode, copy))
    }

    /// The same on a thread of its own: the path's disk may hang, and with it every thread that touches it.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn bind_apart(path: PathBuf, mode: u32) -> Result<Self, BindError> {
        let (there, runtime) = (path.clone(), tokio::runtime::Handle::current());
        let bound = tokio::task::spawn_blocking(move || {
            let _within = runtime.enter();
            Self::bind(&there, mode)
        });
        bound.await.unwrap_or_else(|error| Err(BindError::System { path, source: io::Error::other(error) }))
    }

    /// The same as soon as that is possible. Until then health tells `what` is wrong, and from then on that nobody can connect any more.
    pub async fn bind_patiently(path: PathBuf, mode: u32, what: &'static str, blocking: &Blocking) -> Self {
        loop {
            match Self::bind_apart(path.clone(), mode).await {
                Ok(socket) => {
                    socket.tell_troubles(what, blocking);
                    return socket;
                }
                Err(error) => blocking.note(what, Some(format!("no {what}: {error}; trying again and again"))),
            }
            tokio::time::sleep(BIND_EVERY).await;
        }
    }

    /// Has health tell when nobody can connect any more, for as long as the socket lives.
    pub fn tell_troubles(&self, what: &'static str, blocking: &Blocking) {
        let (mut trouble, blocking) = (self.place.trouble.clone(), blocking.clone());
        tokio::spawn(async move {
            loop {
                let now = trouble.borrow_and_update().clone();
                blocking.note(what, now.map(|error| format!("nobody can connect to the {what}: {error}")));
                if trouble.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Goes on with the listening socket that an earlier process has left behind `path`. `None` if nothing is there that
    /// answers: then the path leads elsewhere, and the socket is worth nothing.
    pub fn adopt(path: &Path, mode: u32, socket: OwnedFd) -> Option<Self> {
        let file = SocketFile::present(path)?;
        is_served(path).then_some(())?;
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true).ok()?;
        let listener = UnixListener::from_std(listener).ok()?;
        let copy = copy_of(&listener).ok()?;
        Some(Self::start(listener, file, mode, copy))
    }

    fn start(listener: UnixListener, file: SocketFile, mode: u32, copy: Arc<OwnedFd>) -> Self {
        let path = file.path().to_owned();
        let stop = CancellationToken::new();
        let (sender, connections) = mpsc::channel(1);
        let (bound, rebound) = mpsc::channel(1);
        let (copies, copy) = watch::channel(copy);
        let (tell, trouble) = watch::channel(None);
        let file = Arc::new(Mutex::new(Some(file)));
        let place = Place { path, mode, file, copy, trouble };
        tokio::spawn(accept(listener, rebound, sender, stop.clone()));
        tokio::spawn(look_after(place.clone(), bound, copies, tell, stop.clone()));
        Self { connections, place, _stop: stop.drop_guard() }
    }

    /// Its path.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for KeptSocket {
    fn drop(&mut self) {
        // Held until the path is gone: who asks for a successor meanwhile would take this socket, which still listens, for one.
        let mut place = self.place.file();
        let Some(file) = place.take() else { return };
        // A disk that hangs must not hold up the process's end, in which its mounts are still served.
        let (done, is_done) = std::sync::mpsc::channel();
        let removing = std::thread::Builder::new().spawn(move || {
            drop(file);
            // Who waited is gone.
            let _late = done.send(());
        });
        if removing.is_ok() && is_done.recv_timeout(REMOVE_WITHIN).is_err() {
            tracing::warn!(path = %self.place.path.display(), "the socket's disk hangs; leaving the socket where it is");
        }
    }
}

impl Stream for KeptSocket {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

impl Place {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies of the listening socket: the one that is there now, and each that takes its place.
    pub fn copies(&self) -> watch::Receiver<Arc<OwnedFd>> {
        self.copy.clone()
    }

    /// Whether another process serves the path now. Asks the file system.
    pub fn has_successor(&self) -> bool {
        !self.is_ours() && is_served(&self.path)
    }

    /// Leaves the path as it is when the socket ends: a successor serves the same one.
    pub fn leave(&self) {
        if let Some(file) = self.file().as_mut() {
            file.leave();
        }
    }

    fn is_ours(&self) -> bool {
        self.file().as_ref().is_some_and(SocketFile::is_there)
    }

    fn file(&self) -> MutexGuard<'_, Option<SocketFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds the path again if nobody serves it.
    fn retake(&self) -> Result<Option<(UnixListener, Arc<OwnedFd>)>, BindError> {
        let mut file = self.file();
        let Some(ours) = file.as_ref() else { return Ok(None) };
        if ours.is_there() || is_served(&self.path) {
            return Ok(None);
        }
        let (listener, found) = bind(&self.path, self.mode)?;
        let copy = copy_of(&listener).map_err(|source| BindError::System { path: self.path.clone(), source })?;
        tracing::warn!(socket = %self.path.display(), "nobody served the socket's path any more; bound it again");
        *file = Some(found);
        Ok(Some((listener, copy)))
    }
}

fn copy_of(listener: &UnixListener) -> io::Result<Arc<OwnedFd>> {
    use std::os::fd::AsFd as _;
    Ok(Arc::new(listener.as_fd().try_clone_to_owned()?))
}

/// Whether something listens behind `path`. A queue that is full is somebody's.
fn is_served(path: &Path) -> bool {
    // Without waiting: to a queue that is full, of a process that hangs, a connection comes when it goes on.
    let connected = SocketAddrUnix::new(path).and_then(|address| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        connect(&socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?, &address)
    });
    !matches!(connected, Err(Errno::CONNREFUSED | Errno::NOENT | Errno::NOTSOCK))
}

/// Passes connections on, from the newest listener.
async fn accept(
    mut listener: UnixListener,
    mut rebound: mpsc::Receiver<UnixListener>,
    connections: mpsc::Sender<UnixStream>,
    stop: CancellationToken,
) {
    let mut is_out = false;
    let mut spare = Spare::new(1);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(next) = rebound.recv() => listener = next,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    is_out = false;
                    spare.refill();
                    tokio::select! {
                        () = stop.cancelled() => return,
                        sent = connections.send(connection) => if sent.is_err() { return },
                    }
                }
                Err(error) => {
                    // Once, not twenty times a second while it lasts.
                    match OutOfFiles::of(&error).filter(|_| !is_out) {
                        Some(limit) => {
                            tracing::error!(%limit, "callers wait until a file is free");
                            is_out = true;
                        }
                        None => tracing::debug!(%error, "cannot accept a connection"),
                    }
                    if !spare.lend() {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
}

/// Looks after the path. On threads of their own: the path may be on a disk that hangs.
async fn look_after(
    place: Place,
    bound: mpsc::Sender<UnixListener>,
    copies: watch::Sender<Arc<OwnedFd>>,
    trouble: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (looked_at, runtime) = (place.clone(), tokio::runtime::Handle::current());
        let retaken = tokio::task::spawn_blocking(move || {
            let _within = runtime.enter();
            looked_at.retake()
        });
        match retaken.await {
            Ok(Ok(Some((listener, copy)))) => {
                trouble.send_replace(None);
                copies.send_replace(copy);
                if bound.send(listener).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => {
                let error = error.to_string();
                let is_new = trouble.send_if_modified(|told| {
                    let is_new = told.as_ref() != Some(&error);
                    *told = Some(error.clone());
                    is_new
                });
                if is_new {
                    tracing::error!(error, "nobody can connect to this driver's socket; trying again and again");
                }
            }
            // It is in its place, or a successor's is.
            Ok(Ok(None)) => {
                trouble.send_if_modified(|told| told.take().is_some());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use futures::StreamExt as _;

    use super::*;

    async fn connects(path: &Path) -> UnixStream {
        loop {
            if let Ok(stream) = UnixStream::connect(path).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_successors_path_is_left_alone_and_a_dead_ones_is_taken_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("csi.sock");
        let mut old = KeptSocket::bind(&path, 0o600).expect("old");
        let new = KeptSocket::bind(&path, 0o600).expect("new");
        let inode = || std::fs::symlink_metadata(&path).map(|found| found.ino()).ok();
        let successors = inode();
        assert!(old.place().has_successor() && !new.place().has_successor());
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!(inode(), successors, "a successor that lives keeps its path");
        // It dies: its file stays, and nobody listens behind it.
        new.place().leave();
        drop(new);
        while inode() == successors {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _client = connects(&path).await;
        old.next().await.expect("a connection").expect("accepted");
        assert!(!old.place().has_successor());
        // Somebody removes it.
        std::fs::remove_file(&path).expect("remove");
        let _client = connects(&path).await;
        old.next().await.expect("a connection").expect("accepted");
        drop(old);
        assert!(!path.exists(), "nothing is left");
    }

    /// Somebody else listens there and takes nothing, and then puts something else in the place of the socket.
    #[tokio::test]
    async fn a_place_that_is_taken_is_had_again_when_it_is_free() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("csi.sock");
        let mut ours = KeptSocket::bind(&path, 0o600).expect("ours");
        std::fs::remove_file(&path).expect("remove");
        let foreign = std::os::unix::net::UnixListener::bind(&path).expect("foreign");
        let flags = SocketFlags::NONBLOCK;
        let mut queue = Vec::new();
        loop {
            let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("socket");
            match connect(&client, &SocketAddrUnix::new(&path).expect("address")) {
                Ok(()) => queue.push(client),
                Err(error) => break assert_eq!(error, Errno::AGAIN, "the queue is full"),
            }
        }
        assert!(is_served(&path), "by whoever it is");
        tokio::time::sleep(2 * LOOK_EVERY).await;
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, "no socket").expect("write");
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!(std::fs::read(&path).expect("it is not ours to remove"), b"no socket");
        std::fs::remove_file(&path).expect("remove");
        let _client = connects(&path).await;
        ours.next().await.expect("a connection").expect("accepted");
        drop((foreign, queue));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_socket_that_is_going_is_not_its_own_successor() {
        let dir = tempfile::tempdir().expect("temp dir");
        for number in 0..100 {
            let path = dir.path().join(number.to_string());
            let socket = KeptSocket::bind(&path, 0o600).expect("bind");
            let place = socket.place().clone();
            let asking = std::thread::spawn(move || {
                while place.path().exists() {
                    assert!(!place.has_successor(), "nobody came");
                }
            });
            drop(socket);
            asking.join().expect("no successor");
        }
    }

    #[tokio::test]
    async fn a_listener_that_was_left_behind_is_gone_on_with_where_it_still_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("reg.sock");
        let first = KeptSocket::bind(&path, 0o600).expect("first");
        let inode = std::fs::symlink_metadata(&path).expect("there").ino();
        let left = first.place().copies().borrow().try_clone().expect("copy");
        let for_nothing = left.try_clone().expect("copy");
        first.place().leave();
        drop(first);
        let mut second = KeptSocket::adopt(&path, 0o600, left).expect("adopted");
        let _client = connects(&path).await;
        second.next().await.expect("a connection").expect("accepted");
        assert_eq!(std::fs::symlink_metadata(&path).expect("there").ino(), inode, "nobody sees a change");
        drop(second);
        assert!(!path.exists());
        assert!(KeptSocket::adopt(&path, 0o600, for_nothing).is_none(), "the path leads nowhere");
    }
}
