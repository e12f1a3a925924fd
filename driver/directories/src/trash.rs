//! Where deleted directories wait for being emptied, and may be taken back.
//!
//! A deletion begins with an *intent*: a note in the trash that says which directory, by path and file id, is to come, and why. Then
//! whoever must agree is asked (for an access point, AWS deletes it), then the directory is moved behind the note in one step. A crash
//! before the move leaves the intent, from which the deletion goes on. What was moved is looked at once more: whether it is what the intent
//! says, and whether somebody has come to use it meanwhile. Only then is it settled that it may be emptied when its time has come; until
//! then nobody empties it, and it can be moved back.
//!
//! Several clusters may have one file system. An intent tells whose it is and how long it is to be kept, so that nobody empties what
//! another cluster still keeps.
//!
//! ```text
//! /.efs-csi-deleted/        root's alone
//!   NAME.note               a link with the intent as JSON; its time is when the directory was deleted, by the server's clock
//!   moved-NAME              the directory, before it is settled that it may be emptied
//!   NAME                    the directory
//!   purging-NAME            the directory, being emptied: too late to take it back
//!   kept-NAME               moved by mistake and not to be moved back, because its place is taken: never emptied
//! ```

mod purge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimId};
use crate::error::DirectoryError;
use crate::files::{Files, FilesError, Handle, Kind, Node, found};
use crate::ledger::{Ledger, private_folder};
use crate::path::DirectoryPath;
use crate::walk::{Place, look, make_way, stands_at};

/// The trash at the root of a file system. No access point can have its root here: EFS allows no leading dot.
pub const TRASH: &str = ".efs-csi-deleted";

/// The trash of drivers before 0.2. They empty whatever is in it at once; as one may still be at work, nothing is kept there.
pub const EARLIER_TRASH: &str = ".efs-csi-trash";

/// Ends the name of a note.
const NOTE: &str = ".note";

/// Begins the name of an entry of which it is not settled yet that it may be emptied.
const MOVED: &str = "moved-";

/// Begins the name of an entry that is being emptied.
const PURGING: &str = "purging-";

/// Begins the name of what must not be emptied.
const KEPT: &str = "kept-";

/// Names that are tried for one volume; more than one is needed only when its directory was made anew after an earlier deletion.
const NAMES: usize = 16;

/// Names the directory volume of a claim among all that were ever deleted.
pub fn label(claim: &Claim) -> String {
    format!("dir-{}", claim.id)
}

/// A directory that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The directory.
    pub path: DirectoryPath,
    /// Its file id.
    pub file_id: u64,
    /// The handle of the volume.
    pub volume: String,
    /// The access point that has to be gone first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_point: Option<String>,
    /// The claim that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimId>,
    /// The cluster that deletes it, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// How long that one wants it kept, seconds. Nobody else empties it earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<u64>,
}

impl Intent {
    /// Whether both mean the same deletion; for how long its directory is kept may have been changed in between.
    fn is_same(&self, other: &Self) -> bool {
        let of =
            |it: &Self| (it.path.clone(), it.file_id, it.volume.clone(), it.access_point.clone(), it.claim.clone());
        of(self) == of(other)
    }
}

/// For whom the trash is looked after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeper {
    /// The cluster, if it is known.
    pub cluster: Option<String>,
    /// How long it keeps what was deleted, seconds.
    pub retention: u64,
}

/// An intent that has been noted, and its name in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its name.
    pub name: String,
    /// What it says.
    pub intent: Intent,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The directory is in the trash.
    Moved,
    /// There was no directory any more.
    Gone,
    /// Something else stands at its path, and stays.
    Replaced,
}

/// In what state something in the trash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The directory has not been moved here (yet).
    Intended,
    /// It was moved here, and is not settled yet.
    Moved,
    /// It waits.
    Waiting,
    /// It is being emptied.
    Purging,
    /// It is kept for good.
    Kept,
}

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without what the state adds.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Where it comes from; nothing for what drivers before 0.2 have left.
    pub intent: Option<Intent>,
    /// When it was deleted, seconds since 1970 by the server's clock: when it was last moved here, for the intent of a deletion that failed
    /// at first may be much older.
    pub since: u64,
}

impl Entry {
    /// Whether it is another cluster's. What tells no cluster is everybody's.
    pub fn is_anothers(&self, keeper: &Keeper) -> bool {
        let cluster = self.intent.as_ref().and_then(|intent| intent.cluster.as_ref());
        cluster.is_some_and(|cluster| Some(cluster) != keeper.cluster.as_ref())
    }

    /// Until when it is kept, seconds since 1970: as long as this keeper wants to, or as long as the other cluster wanted to whose it is.
    pub fn kept_until(&self, keeper: &Keeper) -> u64 {
        let noted = self.intent.as_ref().and_then(|intent| intent.retention).unwrap_or(keeper.retention);
        let retention = match self.intent.as_ref().and_then(|intent| intent.cluster.as_ref()) {
            Some(_) if self.is_anothers(keeper) => noted,
            Some(_) => keeper.retention,
            // Whose it is, is not known.
            None => noted.max(keeper.retention),
        };
        self.since.saturating_add(retention)
    }

    /// Whether its time has come.
    pub fn is_due(&self, now: u64, keeper: &Keeper) -> bool {
        match self.state {
            State::Waiting => now >= self.kept_until(keeper),
            State::Purging => true,
            State::Intended | State::Moved | State::Kept => false,
        }
    }
}

/// Notes as they were last read, by file id, each with the version that it was read from.
pub type Notes = HashMap<u64, ((u64, u32), Intent)>;

/// The trash of one file system.
#[derive(Debug)]
pub struct Trash {
    files: Arc<dyn Files>,
}

impl Trash {
    /// The trash of the file system behind `files`.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files }
    }

    async fn folder(&self) -> Result<Handle, DirectoryError> {
        let root = self.files.root().await;
        let folder = private_folder(&*self.files, &root, TRASH, true).await?;
        folder.ok_or_else(|| DirectoryError::files("open the trash")(FilesError::Stale))
    }

    /// Migrates what drivers before 0.2 have left in their trash.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn migrate(&self) -> Result<(), DirectoryError> {
        let failed = || DirectoryError::files(format!("take over what is in /{EARLIER_TRASH}"));
        let root = self.files.root().await;
        let Some(earlier) = private_folder(&*self.files, &root, EARLIER_TRASH, false).await? else { return Ok(()) };
        let listed = self.files.list(&earlier, usize::MAX).await.map_err(failed())?;
        for entry in listed {
            let folder = self.folder().await?;
            // Renaming could replace something.
            if self.lookup(&folder, &entry.name).await?.is_some() {
                tracing::warn!(
                    entry = entry.name,
                    "an entry of /{EARLIER_TRASH} has the name of another one; it stays there"
                );
                continue;
            }
            found(self.files.rename(&earlier, &entry.name, &folder, &entry.name).await).map_err(failed())?;
        }
        Ok(())
    }

    async fn find_folder(&self) -> Result<Option<Handle>, DirectoryError> {
        let root = self.files.root().await;
        private_folder(&*self.files, &root, TRASH, false).await
    }

    async fn lookup(&self, folder: &Handle, name: &str) -> Result<Option<Node>, DirectoryError> {
        found(self.files.lookup(folder, name).await)
            .map_err(DirectoryError::files(format!("look up {name} in the trash")))
    }

    async fn read_note(&self, folder: &Handle, name: &str) -> Result<Option<(Intent, u64)>, DirectoryError> {
        let note = format!("{name}{NOTE}");
        let Some(node) = self.lookup(folder, &note).await?.filter(|node| node.kind == Kind::Link) else {
            return Ok(None);
        };
        let text = found(self.files.read_link(&node.handle).await);
        let text = text.map_err(DirectoryError::files(format!("read {note} in the trash")))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).map(|intent| (intent, node.changed.0)))
    }

    /// Notes that a directory is to be deleted; `label` names the volume among all that were ever deleted. A repeated call finds the
    /// intent of the first one.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn intend(&self, label: &str, intent: Intent) -> Result<Noted, DirectoryError> {
        let folder = self.folder().await?;
        let text = serde_json::to_string(&intent).expect("an intent of texts and numbers is always JSON");
        let mut n = 0;
        // One attempt more, for a note of an earlier attempt that is written anew.
        for _ in 0..=NAMES {
            let name = format!("{label}-{n}");
            match self.files.make_link(&folder, &format!("{name}{NOTE}"), &text).await {
                Ok(_) => return Ok(Noted { name, intent }),
                Err(FilesError::Exists) => {}
                Err(error) => {
                    return Err(DirectoryError::files(format!("note the deletion of {}", intent.path))(error));
                }
            }
            match self.read_note(&folder, &name).await? {
                // Written anew: whoever looks after the trash goes by a note's age, and how long the directory is to be kept may have been
                // changed since.
                Some((earlier, _)) if earlier.is_same(&intent) && !self.is_moved(&folder, &name).await? => {
                    self.remove_note(&folder, &name).await?;
                }
                Some((earlier, _)) if earlier.is_same(&intent) => return Ok(Noted { name, intent: earlier }),
                _ => n += 1,
            }
        }
        Err(DirectoryError::Contended {
            path: intent.path,
            what: format!("{NAMES} earlier directories of {label} are still in the trash"),
        })
    }

    /// Takes an intent back whose directory was not moved.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn cancel(&self, noted: &Noted) -> Result<(), DirectoryError> {
        let folder = self.folder().await?;
        // Behind the note of something that was moved, nobody would find it.
        if self.is_moved(&folder, &noted.name).await? {
            return Ok(());
        }
        self.remove_note(&folder, &noted.name).await
    }

    /// Whether what an intent means is here, in whatever state.
    async fn is_moved(&self, folder: &Handle, name: &str) -> Result<bool, DirectoryError> {
        for at in [format!("{MOVED}{name}"), name.to_owned(), format!("{PURGING}{name}")] {
            if self.lookup(folder, &at).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn remove_note(&self, folder: &Handle, name: &str) -> Result<(), DirectoryError> {
        let removed = found(self.files.remove(folder, &format!("{name}{NOTE}")).await);
        removed.map(drop).map_err(DirectoryError::files(format!("remove the note of {name} in the trash")))
    }

    /// Moves the directory of an intent to the trash: that directory and no other. [`Self::settle`] or [`Self::withdraw`] follows.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses. The intent stays then.
    pub async fn carry_out(&self, noted: &Noted) -> Result<Outcome, DirectoryError> {
        let Noted { name, intent } = noted;
        let moved = format!("{MOVED}{name}");
        let folder = self.folder().await?;
        if let Some(node) = self.lookup(&folder, &moved).await? {
            if node.file_id == intent.file_id {
                return Ok(Outcome::Moved);
            }
            // Moved by mistake, by a call that was cut off before it saw that.
            let parent = make_way(&*self.files, &intent.path).await?;
            self.move_back(&folder, noted, &moved, &parent).await?;
            return Ok(Outcome::Replaced);
        }
        if self.lookup(&folder, name).await?.is_some_and(|node| node.file_id == intent.file_id) {
            return Ok(Outcome::Moved);
        }
        let (parent, node) = match look(&*self.files, &intent.path).await {
            Ok(Place::Directory { parent, node }) => (parent, node),
            Ok(Place::Free { .. }) => return self.not_moved(&folder, noted, Outcome::Gone).await,
            Err(DirectoryError::Link { .. } | DirectoryError::NotDirectory { .. }) => {
                return self.not_moved(&folder, noted, Outcome::Replaced).await;
            }
            Err(error) => return Err(error),
        };
        if node.file_id != intent.file_id {
            return self.not_moved(&folder, noted, Outcome::Replaced).await;
        }
        let renamed = found(self.files.rename(&parent, intent.path.name(), &folder, &moved).await);
        if renamed.map_err(DirectoryError::files(format!("move directory {} to the trash", intent.path)))?.is_none() {
            return Err(DirectoryError::Contended {
                path: intent.path.clone(),
                what: "it was moved away while it was deleted".to_owned(),
            });
        }
        match self.lookup(&folder, &moved).await? {
            Some(node) if node.file_id == intent.file_id => Ok(Outcome::Moved),
            Some(_) => {
                self.move_back(&folder, noted, &moved, &parent).await?;
                Ok(Outcome::Replaced)
            }
            // Another controller has settled it, or put it back.
            None => self.not_moved(&folder, noted, Outcome::Replaced).await,
        }
    }

    /// What is at the path of an intent is not what it says: perhaps because another controller has moved that a moment ago.
    async fn not_moved(&self, folder: &Handle, noted: &Noted, outcome: Outcome) -> Result<Outcome, DirectoryError> {
        let Noted { name, intent } = noted;
        if self.is_moved(folder, name).await? {
            return Ok(Outcome::Moved);
        }
        // Or has put back since this call looked: told as gone, it would lose its claim.
        if stands_at(&*self.files, &intent.path, Some(intent.file_id)).await? {
            return Err(put_back(intent));
        }
        self.remove_note(folder, name).await?;
        Ok(outcome)
    }

    /// Says of what was moved that nobody uses it: from now on it is emptied when its time has come.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn settle(&self, noted: &Noted) -> Result<(), DirectoryError> {
        let folder = self.folder().await?;
        let moved = format!("{MOVED}{}", noted.name);
        let failed = DirectoryError::files(format!("settle the deletion of {}", noted.intent.path));
        let settled = found(self.files.rename(&folder, &moved, &folder, &noted.name).await).map_err(failed)?;
        if settled.is_some() || self.is_moved(&folder, &noted.name).await? {
            return Ok(());
        }
        Err(put_back(&noted.intent))
    }

    /// Withdraws an intent, and moves back what it has moved, because it turned out that it must stay.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn withdraw(&self, noted: &Noted) -> Result<(), DirectoryError> {
        self.withdraw_from(noted, &[format!("{MOVED}{}", noted.name), noted.name.clone()]).await
    }

    /// Withdraws an intent that nobody goes on with, and moves back what it has moved, unless that is settled.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn withdraw_unsettled(&self, noted: &Noted) -> Result<(), DirectoryError> {
        self.withdraw_from(noted, &[format!("{MOVED}{}", noted.name)]).await
    }

    /// Withdraws an intent, and moves back what is in the trash under one of these names.
    async fn withdraw_from(&self, noted: &Noted, names: &[String]) -> Result<(), DirectoryError> {
        let folder = self.folder().await?;
        for from in names {
            if self.lookup(&folder, from).await?.is_some() {
                let parent = make_way(&*self.files, &noted.intent.path).await?;
                return self.move_back(&folder, noted, from, &parent).await;
            }
        }
        self.cancel(noted).await
    }

    /// Moves what is in the trash as `from` to where it came from; where that is impossible, keeps it for good.
    async fn move_back(
        &self,
        folder: &Handle,
        noted: &Noted,
        from: &str,
        parent: &Handle,
    ) -> Result<(), DirectoryError> {
        let Noted { name, intent } = noted;
        let failed = || DirectoryError::files(format!("move directory {} back from the trash", intent.path));
        // Renaming could replace an empty directory that was made there meanwhile; what has the name now keeps it.
        let is_free = found(self.files.lookup(parent, intent.path.name()).await).map_err(failed())?.is_none();
        if is_free {
            match self.files.rename(folder, from, parent, intent.path.name()).await {
                Ok(()) => return self.remove_note(folder, name).await,
                // Another controller has given it back, or settled it.
                Err(FilesError::NotFound) => return self.cancel(noted).await,
                // Somebody has taken the place in this moment.
                Err(FilesError::Exists | FilesError::NotEmpty | FilesError::NotDirectory) => {}
                Err(error) => return Err(failed()(error)),
            }
        }
        let kept = format!("{KEPT}{name}");
        if found(self.files.rename(folder, from, folder, &kept).await).map_err(failed())?.is_some() {
            tracing::error!(path = %intent.path, kept = format!("/{TRASH}/{kept}"), "a directory was moved by mistake and its place is taken; it is kept");
            found(self.files.rename(folder, &format!("{name}{NOTE}"), folder, &format!("{kept}{NOTE}")).await)
                .map_err(failed())?;
        }
        Ok(())
    }

    /// Everything in the trash, by name.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn entries(&self) -> Result<Vec<Entry>, DirectoryError> {
        self.entries_afresh(&mut Notes::new()).await
    }

    /// The same for whoever looks several times: of the notes in `read`, only what has changed is read again; `read` is brought up to date.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn entries_afresh(&self, read: &mut Notes) -> Result<Vec<Entry>, DirectoryError> {
        let Some(folder) = self.find_folder().await? else { return Ok(Vec::new()) };
        let listed = self.files.list(&folder, usize::MAX).await.map_err(DirectoryError::files("list the trash"))?;
        let (mut entries, mut notes) = (BTreeMap::<String, Entry>::new(), Notes::new());
        for listed in listed {
            let changed = listed.version.map_or(0, |(_, (seconds, _))| seconds);
            // Whoever is root may put other things here; they are entries like those of earlier drivers.
            let note = listed.name.strip_suffix(NOTE).filter(|_| listed.kind.is_none_or(|kind| kind == Kind::Link));
            if let Some(name) = note {
                let known = listed.version.and_then(|(id, version)| read.remove(&id).filter(|(of, _)| *of == version));
                let note = match known {
                    Some(((since, _), intent)) => Some((intent, since)),
                    None => self.read_note(&folder, name).await?,
                };
                let Some((intent, since)) = note else { continue };
                if let Some((id, version)) = listed.version {
                    notes.insert(id, (version, intent.clone()));
                }
                let fresh = || Entry { name: name.to_owned(), state: State::Intended, intent: None, since };
                let entry = entries.entry(name.to_owned()).or_insert_with(fresh);
                entry.intent = Some(intent);
                entry.since = entry.since.max(since);
                continue;
            }
            let (name, state) = if let Some(name) = listed.name.strip_prefix(PURGING) {
                (name.to_owned(), State::Purging)
            } else if let Some(name) = listed.name.strip_prefix(MOVED) {
                (name.to_owned(), State::Moved)
            } else if listed.name.starts_with(KEPT) {
                (listed.name.clone(), State::Kept)
            } else {
                (listed.name.clone(), State::Waiting)
            };
            let fresh = || Entry { name: name.clone(), state, intent: None, since: changed };
            let entry = entries.entry(name.clone()).or_insert_with(fresh);
            entry.state = state;
            if matches!(state, State::Moved | State::Waiting) {
                entry.since = entry.since.max(changed);
            }
        }
        *read = notes;
        Ok(entries.into_values().collect())
    }

    /// The intents under this label that are not settled, whether their directories were moved or not.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn unsettled(&self, label: &str) -> Result<Vec<Noted>, DirectoryError> {
        let Some(folder) = self.find_folder().await? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for n in 0..NAMES {
            let name = format!("{label}-{n}");
            match self.read_note(&folder, &name).await? {
                Some((intent, _)) => {
                    let is_settled = self.lookup(&folder, &name).await?.is_some()
                        || self.lookup(&folder, &format!("{PURGING}{name}")).await?.is_some();
                    if !is_settled {
                        all.push(Noted { name, intent });
                    }
                }
                // Names are taken in turn; a gap is left only by what was emptied.
                None if n > 0 => break,
                None => {}
            }
        }
        Ok(all)
    }

    /// The server's time, seconds since 1970: the time of a note that is made for it. The clock of this machine may be set back or
    /// forward, which must neither empty the trash early nor keep it for ever.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn now(&self) -> Result<u64, DirectoryError> {
        let failed = || DirectoryError::files("ask the file system for its time");
        let folder = self.folder().await?;
        let name = format!(".clock-{}", ClaimId::random());
        let node = self.files.make_link(&folder, &name, "clock").await.map_err(failed())?;
        found(self.files.remove(&folder, &name).await).map_err(failed())?;
        Ok(node.changed.0)
    }

    /// Moves an entry back to where it came from, or to `to`.
    ///
    /// # Errors
    /// When it is unknown where it came from, the place is taken or owned by a volume, it is being emptied, or the file system can't be
    /// asked.
    pub async fn restore(
        &self,
        ledger: &Ledger,
        entry: &Entry,
        to: Option<&DirectoryPath>,
    ) -> Result<DirectoryPath, DirectoryError> {
        let unreadable = |reason: &str| DirectoryError::Unreadable {
            at: format!("entry {}", entry.name),
            reason: reason.to_owned(),
        };
        if !matches!(entry.state, State::Waiting | State::Kept) {
            return Err(unreadable("it is not, or no longer, a directory that can be restored"));
        }
        let path = match (to, &entry.intent) {
            (Some(path), _) => path.clone(),
            (None, Some(intent)) => intent.path.clone(),
            (None, None) => return Err(unreadable("it does not tell where it came from; name a directory with --to")),
        };
        if let Some((relation, owner)) = ledger.owner_of(&path).await? {
            return Err(DirectoryError::Taken { path, relation, owner: Box::new(owner) });
        }
        let failed = || DirectoryError::files(format!("restore directory {path}"));
        let folder = self.folder().await?;
        let parent = make_way(&*self.files, &path).await?;
        if found(self.files.lookup(&parent, path.name()).await).map_err(failed())?.is_some() {
            return Err(DirectoryError::Occupied { path });
        }
        self.files.rename(&folder, &entry.name, &parent, path.name()).await.map_err(failed())?;
        self.remove_note(&folder, &entry.name).await?;
        Ok(path)
    }

    /// Empties an entry and removes it; gives the number of files and directories removed. From the first step on it can't be restored.
    ///
    /// # Errors
    /// When its deletion is still under way, the file system can't be asked, or refuses to remove something. What is left is tried again
    /// by the next call.
    pub async fn purge(&self, entry: &Entry) -> Result<u64, DirectoryError> {
        let failed = || DirectoryError::files(format!("empty {} in the trash", entry.name));
        let folder = self.folder().await?;
        let purging = format!("{PURGING}{}", entry.name);
        match entry.state {
            State::Waiting | State::Kept => {
                found(self.files.rename(&folder, &entry.name, &folder, &purging).await).map_err(failed())?;
            }
            State::Purging => {}
            State::Intended | State::Moved => {
                return Err(DirectoryError::Unreadable {
                    at: format!("entry {}", entry.name),
                    reason: "its deletion is still under way; it is not emptied before that is settled".to_owned(),
                });
            }
        }
        let Some(node) = self.lookup(&folder, &purging).await? else {
            // Somebody else has emptied or restored it, and its note is theirs.
            return Ok(0);
        };
        let removed = if node.kind == Kind::Directory { purge::empty(&*self.files, &node.handle).await? } else { 0 };
        // The note goes first: alone, it would be taken for a deletion that was cut off before its move.
        self.remove_note(&folder, &entry.name).await?;
        found(self.files.remove(&folder, &purging).await).map_err(failed())?;
        Ok(removed + 1)
    }
}

fn put_back(intent: &Intent) -> DirectoryError {
    DirectoryError::Contended {
        path: intent.path.clone(),
        what: "another call has put it back from the trash while it was deleted".to_owned(),
    }
}
