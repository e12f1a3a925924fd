//! A directory volume's deletion, from what stands at its place to the claim that is given up.
//!
//! Other calls for the volume may run at the same time: a second deletion, a creation that is repeated, here or in another controller.
//! A claim is given up only when its directory is settled to be in the trash, or has been looked for everywhere it can be; otherwise a
//! directory would be left that no volume owns, in the way of the next one for good.

use std::sync::Arc;

use crate::claim::{Claim, Origin};
use crate::error::DirectoryError;
use crate::ledger::Ledger;
use crate::trash::{Intent, Noted, Outcome, Trash, label};
use crate::volumes::{Standing, is_at_its_place, release};

/// What a deletion has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted<U> {
    /// The directory is in the trash.
    Moved,
    /// Nobody has claimed the directory; nothing is changed.
    Unclaimed,
    /// The directory was not made for the volume, and stays. The claim is given up.
    Kept(Origin),
    /// There was no directory any more. The claim is given up.
    Gone,
    /// What has the directory's name now is something else, and stays. The claim is given up.
    Replaced,
    /// Somebody else uses the directory, so nothing is removed.
    InUse(U),
}

/// Deletes the volume that `standing` was seen of. `intent` says what is noted in the trash; `user` asks who else uses the directory, before
/// it is moved and once more afterwards.
///
/// # Errors
/// When the file system or `user` can't be asked, or another call for the volume came in between. The call can be repeated.
pub async fn delete<U, E: From<DirectoryError>, Asked: Future<Output = Result<Option<U>, E>>>(
    ledger: &Ledger,
    standing: Standing,
    intent: impl FnOnce(&Claim) -> Intent,
    user: impl Fn() -> Asked,
) -> Result<Deleted<U>, E> {
    let trash = Trash::new(Arc::clone(ledger.files()));
    let (claim, noted) = match standing {
        Standing::Unclaimed => return Ok(Deleted::Unclaimed),
        Standing::Kept(claim) => {
            release(ledger, &claim).await?;
            return Ok(Deleted::Kept(claim.origin));
        }
        Standing::Replaced(claim) => {
            release(ledger, &claim).await?;
            return Ok(Deleted::Replaced);
        }
        Standing::Gone(claim) => match trash.unsettled(&label(&claim)).await?.pop() {
            // A call that was cut off has moved it.
            Some(noted) => (claim, noted),
            None => {
                release_gone(ledger, &trash, &claim).await?;
                return Ok(Deleted::Gone);
            }
        },
        Standing::Present(claim) => {
            if let Some(user) = user().await? {
                return Ok(Deleted::InUse(user));
            }
            let noted = trash.intend(&label(&claim), intent(&claim)).await?;
            (claim, noted)
        }
    };
    carry_out(ledger, &trash, &claim, &noted, user).await
}

async fn carry_out<U, E: From<DirectoryError>, Asked: Future<Output = Result<Option<U>, E>>>(
    ledger: &Ledger,
    trash: &Trash,
    claim: &Claim,
    noted: &Noted,
    user: impl Fn() -> Asked,
) -> Result<Deleted<U>, E> {
    let deleted = match trash.carry_out(noted).await? {
        Outcome::Moved => {
            // An access point that was made since the first look would lose its files. Where that can't be seen now, the repeated call looks:
            // nothing is emptied before it is settled.
            if let Some(user) = user().await? {
                trash.withdraw(noted).await?;
                return Ok(Deleted::InUse(user));
            }
            trash.settle(noted).await?;
            Deleted::Moved
        }
        Outcome::Gone => Deleted::Gone,
        Outcome::Replaced => Deleted::Replaced,
    };
    release(ledger, claim).await?;
    Ok(deleted)
}

/// Gives up a claim whose directory was neither at its place nor in the trash. It may be under way between the two, or have been about to
/// come to its place: then the repeated call finds it.
async fn release_gone(ledger: &Ledger, trash: &Trash, claim: &Claim) -> Result<(), DirectoryError> {
    // What waits in the ledger for its move is taken away first: a creation that still runs can't bring it to its place any more, and what
    // it has brought there is seen by the look that follows.
    if claim.origin == Origin::Made {
        ledger.unstage(&claim.id).await?;
    }
    if is_at_its_place(ledger, claim).await? || !trash.unsettled(&label(claim)).await?.is_empty() {
        return Err(DirectoryError::Contended {
            path: claim.path.clone(),
            what: format!("another call for volume {:?} is moving it", claim.volume),
        });
    }
    release(ledger, claim).await
}
