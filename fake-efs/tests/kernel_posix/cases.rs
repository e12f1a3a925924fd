//! The cases: what POSIX and the Linux kernel promise of a file system, one function each.

mod attributes;
mod data;
mod directories;
mod links;
mod locks;
mod mapping;
mod names;
mod opening;
mod ownership;
mod permissions;
mod rename;
mod sharing;
mod special;
mod times;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lab::files::{self, Answer, Errno};
use crate::lab::users::User;

/// Owns what the permission cases make.
const OWNER: User = User::new(1001, 1001);
/// Has the owner's group as its primary group.
const MEMBER: User = User::new(1002, 1001);
/// Has the owner's group among its further groups.
const SECONDARY: User = User { uid: 1003, gid: 1003, groups: &[1007, 1001] };
/// Has nothing to do with the owner.
const STRANGER: User = User::new(1004, 1004);

/// A fresh directory of one case, mode 0777, seen through two mounts of the same file system.
pub(crate) struct Place {
    /// Through the first mount.
    here: PathBuf,
    /// Through the second, which caches nothing.
    there: PathBuf,
}

impl Place {
    /// Makes the directory of a case below the roots of two mounts.
    pub(crate) fn new(first: &Path, second: &Path, name: &str) -> Answer<Self> {
        let place = Self { here: first.join(name), there: second.join(name) };
        files::mkdir(&place.here, 0o777)?;
        Ok(place)
    }

    /// A path here.
    fn at(&self, name: &str) -> PathBuf {
        self.here.join(name)
    }

    /// The same path through the other mount.
    fn other(&self, name: &str) -> PathBuf {
        self.there.join(name)
    }

    /// The directory itself.
    fn root(&self) -> &Path {
        &self.here
    }
}

/// A file call that was expected to work did not.
#[derive(Debug)]
pub(crate) struct Unexpected(String);

impl std::fmt::Display for Unexpected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Errno> for Unexpected {
    #[track_caller]
    fn from(errno: Errno) -> Self {
        let place = std::panic::Location::caller();
        Self(format!("{} at {}:{}", name(errno), place.file(), place.line()))
    }
}

impl From<nix::errno::Errno> for Unexpected {
    #[track_caller]
    fn from(errno: nix::errno::Errno) -> Self {
        let place = std::panic::Location::caller();
        Self(format!("{errno} at {}:{}", place.file(), place.line()))
    }
}

/// What a case ends with; a broken promise is a panic.
pub(crate) type Outcome = Result<(), Unexpected>;

/// A named promise and how it is checked.
pub(crate) struct Case {
    /// `area::what_is_promised`.
    pub(crate) name: String,
    /// Checks it in a fresh directory.
    pub(crate) check: Box<dyn Fn(&Place) -> Outcome + Send + Sync>,
}

impl Case {
    fn new(area: &str, name: &str, check: impl Fn(&Place) -> Outcome + Send + Sync + 'static) -> Self {
        Self { name: format!("{area}::{name}"), check: Box::new(check) }
    }
}

/// Lists the functions of an area as cases.
macro_rules! cases {
    ($area:literal: $($check:ident),+ $(,)?) => {
        /// The cases of this area.
        pub(super) fn all() -> Vec<crate::cases::Case> {
            vec![$(crate::cases::Case::new($area, stringify!($check), $check)),+]
        }
    };
}
use cases;

/// Fails unless the call was refused with this error number.
#[track_caller]
fn refused<T>(answer: Answer<T>, expected: Errno) {
    match answer {
        Ok(_) => panic!("expected {}, but it was allowed", name(expected)),
        Err(errno) => assert!(errno == expected, "expected {}, got {}", name(expected), name(errno)),
    }
}

/// Fails unless the call was refused with one of these error numbers.
#[track_caller]
fn refused_with_any<T>(answer: Answer<T>, expected: &[Errno]) {
    let names: Vec<String> = expected.iter().copied().map(name).collect();
    match answer {
        Ok(_) => panic!("expected one of {names:?}, but it was allowed"),
        Err(errno) => assert!(expected.contains(&errno), "expected one of {names:?}, got {}", name(errno)),
    }
}

/// The error number as people know it, e.g. `ENOENT: No such file or directory`.
fn name(errno: Errno) -> String {
    nix::errno::Errno::from_raw(errno.raw_os_error()).to_string()
}

/// Repeats `step` until the time that `told` reads is later than `before`: servers may count time in ticks of a few
/// milliseconds, so that one step need not show.
#[track_caller]
fn becomes_later(
    before: i128,
    told: impl Fn() -> Answer<i128>,
    mut step: impl FnMut(u32) -> Answer<()>,
) -> Result<(), Unexpected> {
    let end = Instant::now() + Duration::from_secs(2);
    for round in 0.. {
        step(round)?;
        if told()? > before {
            break;
        }
        assert!(Instant::now() < end, "the time stays as it was");
    }
    Ok(())
}

/// Repeats `look` until it sees `expected`. For what the client does in the background after a call has answered: of a
/// removed open file, it removes the name that it keeps the file under (.nfs…) some time after the last close.
#[track_caller]
fn becomes<T: PartialEq + std::fmt::Debug>(expected: &T, look: impl Fn() -> Answer<T>) -> Result<(), Unexpected> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = look()?;
        if seen == *expected {
            return Ok(());
        }
        assert!(Instant::now() < end, "it stays {seen:?} and does not become {expected:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every case, by area.
pub(crate) fn all() -> Vec<Case> {
    [
        attributes::all(),
        data::all(),
        directories::all(),
        links::all(),
        locks::all(),
        mapping::all(),
        names::all(),
        opening::all(),
        ownership::all(),
        permissions::all(),
        rename::all(),
        sharing::all(),
        special::all(),
        times::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
