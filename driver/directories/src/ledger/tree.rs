//! The tree of claims, a mirror of the file system in which a claimed directory is a link.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::{Claim, Folder, Kept, Ledger};
use crate::error::DirectoryError;
use crate::files::{FilesError, Handle, Kind, Listed, found};
use crate::path::{DirectoryPath, Relation};

/// How often a claim is tried again when folders around it come and go. Each round loses against somebody who made progress.
const ATTEMPTS: usize = 32;

/// Claims that are read at once.
const READERS: usize = 8;

/// How a claim was put down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It stands now.
    New,
    /// The volume has one already: this.
    Held(Claim),
}

/// What stands in a folder of the tree.
enum Entry {
    Folder(Handle),
    /// A claim, with the link's file id and the time of its last change.
    Claim(u64, (u64, u32), Claim),
    None,
}

impl Ledger {
    /// The claim on exactly this directory.
    ///
    /// # Errors
    /// When the file system can't be asked, or the claim can't be read.
    pub async fn claim_at(&self, path: &DirectoryPath) -> Result<Option<Claim>, DirectoryError> {
        Ok(self.owner_of(path).await?.filter(|(relation, _)| *relation == Relation::Same).map(|(_, claim)| claim))
    }

    /// How old a claim is, seconds; `now` is the server's time. A claim that is gone is as old as can be.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn age(&self, claim: &Claim, now: u64) -> Result<u64, DirectoryError> {
        let Some(folder) = self.folder_of(&claim.path).await? else { return Ok(u64::MAX) };
        let link = found(self.files.lookup(&folder, claim.path.name()).await).map_err(reading(&claim.path))?;
        Ok(link.map_or(u64::MAX, |link| now.saturating_sub(link.changed.0)))
    }

    /// Who has the directory, one around it or one in it, and how `path` lies to that one's.
    ///
    /// # Errors
    /// When the file system can't be asked, or a claim can't be read.
    pub async fn owner_of(&self, path: &DirectoryPath) -> Result<Option<(Relation, Claim)>, DirectoryError> {
        let Some(mut folder) = self.find_folder(Folder::Tree).await? else { return Ok(None) };
        let depth = path.components().len();
        for (n, component) in path.components().enumerate() {
            let node = found(self.files.lookup(&folder, component).await);
            let Some(node) = node.map_err(reading(path))? else { return Ok(None) };
            if node.kind != Kind::Directory {
                let relation = if n + 1 == depth { Relation::Same } else { Relation::Inside };
                let Some(claim) = self.read(&node.handle, path).await? else { return Ok(None) };
                return Ok(Some((relation, claim)));
            }
            folder = node.handle;
        }
        let inner = self.any_in(&folder, path).await?;
        Ok(inner.map(|claim| (Relation::Around, claim)))
    }

    /// Puts a claim down. Of any number of drivers that try at once, one succeeds.
    ///
    /// # Errors
    /// When another volume has the directory, one around it or one in it; when the file system can't be asked or refuses.
    pub async fn put(&self, claim: &Claim) -> Result<Put, DirectoryError> {
        let text = serde_json::to_string(claim).expect("a claim of texts and numbers is always JSON");
        for _ in 0..ATTEMPTS {
            let Some(folder) = self.make_folders(claim).await? else { continue };
            match self.files.make_link(&folder, claim.path.name(), &text).await {
                Ok(_) => return Ok(Put::New),
                Err(FilesError::Exists) => {}
                // The folder was empty and somebody who gave up a claim has tidied it away.
                Err(FilesError::NotFound | FilesError::Stale | FilesError::NotDirectory) => continue,
                Err(error) => return Err(DirectoryError::files(format!("claim directory {}", claim.path))(error)),
            }
            match self.owner_of(&claim.path).await? {
                Some((Relation::Same, held)) if held.volume == claim.volume => return Ok(Put::Held(held)),
                Some((relation, owner)) => {
                    return Err(DirectoryError::Taken { path: claim.path.clone(), relation, owner: Box::new(owner) });
                }
                // Folders in which nothing is claimed (any more).
                None => self.tidy(&folder, claim.path.name()).await?,
            }
        }
        Err(DirectoryError::Contended {
            path: claim.path.clone(),
            what: "many volumes around it come and go".to_owned(),
        })
    }

    /// Gives up a claim. Another claim that has taken its place meanwhile stays.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn release(&self, claim: &Claim) -> Result<(), DirectoryError> {
        let failed = || DirectoryError::files(format!("give up the claim on {}", claim.path));
        // Before the claim: afterwards nobody would look for them.
        self.forget_legacy(claim).await?;
        if self.claim_at(&claim.path).await?.is_some_and(|held| held.id == claim.id) {
            let released = self.folder(Folder::Released).await?;
            let Some(folder) = self.folder_of(&claim.path).await? else { return Ok(()) };
            // Removing goes by name, and the name may mean another claim by now: so it is moved, looked at, and moved back if need be.
            let aside = claim.id.as_str();
            if found(self.files.rename(&folder, claim.path.name(), &released, aside).await).map_err(failed())?.is_some()
            {
                let moved = found(self.files.lookup(&released, aside).await).map_err(failed())?;
                let other = match &moved {
                    Some(node) => self.read(&node.handle, &claim.path).await?.is_some_and(|it| it.id != claim.id),
                    None => false,
                };
                if other {
                    self.files.rename(&released, aside, &folder, claim.path.name()).await.map_err(failed())?;
                } else {
                    found(self.files.remove(&released, aside).await).map_err(failed())?;
                }
            }
        }
        if let Some(sizes) = self.find_folder(Folder::Sizes).await? {
            found(self.files.remove(&sizes, claim.id.as_str()).await).map_err(failed())?;
        }
        Ok(())
    }

    /// All claims, by path. Of those in `kept`, only what has changed is read again; `kept` is brought up to date.
    ///
    /// # Errors
    /// When the file system can't be asked. A claim that can't be read is told in the log and left out.
    pub async fn claims(&self, kept: &mut Kept) -> Result<BTreeMap<DirectoryPath, Claim>, DirectoryError> {
        let mut folders: Vec<Handle> = self.find_folder(Folder::Tree).await?.into_iter().collect();
        let (mut claims, mut fresh) = (BTreeMap::new(), Kept::new());
        while let Some(folder) = folders.pop() {
            let listed = found(self.files.list(&folder, usize::MAX).await);
            let listed = listed.map_err(DirectoryError::files("list the claims"))?.unwrap_or_default();
            let read = listed.into_iter().map(|entry| self.read_entry(&folder, kept, entry).boxed());
            let read: Vec<Entry> = futures::stream::iter(read).buffer_unordered(READERS).try_collect().await?;
            for entry in read {
                match entry {
                    Entry::Folder(folder) => folders.push(folder),
                    Entry::Claim(file_id, changed, claim) => {
                        fresh.insert(file_id, (changed, claim.clone()));
                        claims.insert(claim.path.clone(), claim);
                    }
                    Entry::None => {}
                }
            }
        }
        *kept = fresh;
        Ok(claims)
    }

    async fn read_entry(&self, folder: &Handle, kept: &Kept, entry: Listed) -> Result<Entry, DirectoryError> {
        if let (Some(Kind::Link), Some((file_id, version))) = (entry.kind, entry.version)
            && let Some((known, claim)) = kept.get(&file_id)
            && *known == version
        {
            return Ok(Entry::Claim(file_id, version, claim.clone()));
        }
        let node = found(self.files.lookup(folder, &entry.name).await);
        let node = match node.map_err(DirectoryError::files("look up a claim"))? {
            None => return Ok(Entry::None),
            Some(node) if node.kind == Kind::Directory => return Ok(Entry::Folder(node.handle)),
            Some(node) if node.kind == Kind::Other => {
                tracing::warn!(note = entry.name, "a file in the ledger is no claim; it is left alone");
                return Ok(Entry::None);
            }
            Some(node) => node,
        };
        let text = found(self.files.read_link(&node.handle).await);
        let text = text.map_err(DirectoryError::files("read a claim"))?.unwrap_or_default();
        match serde_json::from_str(&text) {
            Ok(claim) => Ok(Entry::Claim(node.file_id, node.changed, claim)),
            Err(error) => {
                tracing::warn!(note = entry.name, %error, "a note in the ledger is no claim; it is left alone");
                Ok(Entry::None)
            }
        }
    }

    /// The claim behind a link; nothing when it has gone meanwhile.
    async fn read(&self, link: &Handle, path: &DirectoryPath) -> Result<Option<Claim>, DirectoryError> {
        let text = match found(self.files.read_link(link).await) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(FilesError::Lost(reason)) => return Err(reading(path)(FilesError::Lost(reason))),
            Err(error) => return Err(unreadable(path, error.to_string())),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| unreadable(path, error.to_string()))
    }

    /// Some claim below a folder of the tree.
    async fn any_in(&self, folder: &Handle, path: &DirectoryPath) -> Result<Option<Claim>, DirectoryError> {
        let mut folders = vec![folder.clone()];
        while let Some(folder) = folders.pop() {
            let listed = found(self.files.list(&folder, usize::MAX).await).map_err(reading(path))?.unwrap_or_default();
            for entry in listed {
                match found(self.files.lookup(&folder, &entry.name).await).map_err(reading(path))? {
                    Some(node) if node.kind == Kind::Directory => folders.push(node.handle),
                    Some(node) => match self.read(&node.handle, path).await? {
                        Some(claim) => return Ok(Some(claim)),
                        None => continue,
                    },
                    None => {}
                }
            }
        }
        Ok(None)
    }

    /// The folder of the tree that would hold the claim; folders around it are made. Nothing when they go while they are made.
    async fn make_folders(&self, claim: &Claim) -> Result<Option<Handle>, DirectoryError> {
        let failed = || DirectoryError::files(format!("claim directory {}", claim.path));
        let mut folder = self.folder(Folder::Tree).await?;
        for at in claim.path.ancestors() {
            let node = match found(self.files.lookup(&folder, at.name()).await).map_err(failed())? {
                Some(node) => node,
                None => match self.files.make_directory(&folder, at.name(), super::PRIVATE).await {
                    Ok(node) => node,
                    Err(FilesError::Exists | FilesError::NotFound | FilesError::Stale) => return Ok(None),
                    Err(error) => return Err(failed()(error)),
                },
            };
            if node.kind != Kind::Directory {
                return match self.read(&node.handle, &at).await? {
                    Some(owner) => Err(DirectoryError::Taken {
                        path: claim.path.clone(),
                        relation: Relation::Inside,
                        owner: Box::new(owner),
                    }),
                    None => Ok(None),
                };
            }
            folder = node.handle;
        }
        Ok(Some(folder))
    }

    /// The folder of the tree that holds the claim on `path`.
    async fn folder_of(&self, path: &DirectoryPath) -> Result<Option<Handle>, DirectoryError> {
        let Some(mut folder) = self.find_folder(Folder::Tree).await? else { return Ok(None) };
        for at in path.ancestors() {
            match found(self.files.lookup(&folder, at.name()).await).map_err(reading(path))? {
                Some(node) if node.kind == Kind::Directory => folder = node.handle,
                _ => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// Removes a folder of the tree and those in it, as far as nothing is claimed in them: a folder with entries can't be removed.
    ///
    /// NFS removes links and folders with one operation, by name. Here it always meets the folder that was looked up: a claim needs a
    /// free name, only the holder of the lock frees those of folders, and a holder that was held up gives in before the lock lapses.
    async fn tidy(&self, parent: &Handle, name: &str) -> Result<(), DirectoryError> {
        let failed = || DirectoryError::files("tidy up the ledger");
        let Some(lock) = TidyLock::take(self).await? else {
            tokio::time::sleep(TIDY_PAUSE).await;
            return Ok(());
        };
        let result = self.tidy_locked(&lock, parent, name).await.map_err(failed());
        lock.give_back(self).await?;
        result
    }

    async fn tidy_locked(&self, lock: &TidyLock, parent: &Handle, name: &str) -> Result<(), FilesError> {
        let mut stack = vec![(parent.clone(), name.to_owned())];
        let mut order = Vec::new();
        while let Some((parent, name)) = stack.pop() {
            let Some(node) = found(self.files.lookup(&parent, &name).await)? else { continue };
            if node.kind == Kind::Directory {
                let listed = found(self.files.list(&node.handle, usize::MAX).await)?.unwrap_or_default();
                stack.extend(listed.into_iter().map(|entry| (node.handle.clone(), entry.name)));
                order.push((parent, name));
            }
        }
        for (parent, name) in order.into_iter().rev() {
            let is_folder =
                found(self.files.lookup(&parent, &name).await)?.is_some_and(|it| it.kind == Kind::Directory);
            if !is_folder || lock.is_old() {
                return Ok(());
            }
            match self.files.remove(&parent, &name).await {
                Ok(()) | Err(FilesError::NotFound | FilesError::Stale) => {}
                Err(FilesError::NotEmpty | FilesError::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How long others wait for somebody who tidies up.
const TIDY_PAUSE: Duration = Duration::from_millis(50);

/// A holder gives in after this long.
const TIDY_FOR: Duration = Duration::from_secs(10);

/// The lock of a holder that died is taken away after this long by the server's clock, seconds. Much longer than [`TIDY_FOR`] and one
/// operation's deadline together.
const TIDY_LAPSE: u64 = 120;

/// The right to remove folders of the tree.
struct TidyLock {
    name: String,
    since: Instant,
}

impl TidyLock {
    const NAME: &str = "tidying";

    /// Takes the lock, unless somebody has it.
    async fn take(ledger: &Ledger) -> Result<Option<Self>, DirectoryError> {
        let failed = || DirectoryError::files("tidy up the ledger");
        let released = ledger.folder(Folder::Released).await?;
        let Some(top) = ledger.top(false).await? else { return Ok(None) };
        let name = super::ClaimId::random().to_string();
        match ledger.files.make_link(&top, Self::NAME, &name).await {
            Ok(_) => return Ok(Some(Self { name, since: Instant::now() })),
            Err(FilesError::Exists) => {}
            Err(error) => return Err(failed()(error)),
        }
        // What lies in the way is old if the clock of the server, seen by a fresh note, says so.
        let Some(held) = found(ledger.files.lookup(&top, Self::NAME).await).map_err(failed())? else { return Ok(None) };
        let probe = ledger.files.make_link(&released, &name, &name).await.map_err(failed())?;
        found(ledger.files.remove(&released, &name).await).map_err(failed())?;
        if probe.changed.0.saturating_sub(held.changed.0) > TIDY_LAPSE {
            found(ledger.files.rename(&top, Self::NAME, &released, &name).await).map_err(failed())?;
        }
        Ok(None)
    }

    fn is_old(&self) -> bool {
        self.since.elapsed() > TIDY_FOR
    }

    async fn give_back(self, ledger: &Ledger) -> Result<(), DirectoryError> {
        let Some(top) = ledger.top(false).await? else { return Ok(()) };
        if ledger.read_link_at(&top, Self::NAME).await?.is_some_and(|holder| holder == self.name) {
            let removed = found(ledger.files.remove(&top, Self::NAME).await);
            removed.map_err(DirectoryError::files("tidy up the ledger"))?;
        }
        Ok(())
    }
}

fn reading(path: &DirectoryPath) -> impl FnOnce(FilesError) -> DirectoryError + use<> {
    DirectoryError::files(format!("look for the owner of directory {path}"))
}

fn unreadable(path: &DirectoryPath, reason: String) -> DirectoryError {
    DirectoryError::Unreadable { at: format!("the claim on {path}"), reason }
}
