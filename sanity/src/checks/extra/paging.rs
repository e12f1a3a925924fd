//! 121 to 124: ListVolumes in pages.

use std::collections::BTreeSet;

use csi_proto::csi::{
    ListVolumesRequest, ListVolumesResponse, controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Check, Need},
    client::{Answer, Cause, Refusal},
    expect::{Expect, Outcome, ensure, fail},
};

const CHECK: Check = Check {
    container: "ListVolumes in pages",
    needs: &[Need::Controller(ControllerType::ListVolumes), Need::Controller(ControllerType::CreateDeleteVolume)],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 121,
        title: "should return no more than max_entries and a token for the rest",
        rule: "The plugin MUST NOT return more than max_entries and MUST set next_token when there are more (spec, ListVolumes).",
        body: body!(limit),
        ..CHECK
    },
    Check {
        number: 122,
        title: "should reach every volume",
        rule: "next_token leads to the next page, and the last page has none (spec, ListVolumes).",
        alone: true,
        body: body!(walk),
        ..CHECK
    },
    Check {
        number: 123,
        title: "should carry on when volumes come and go between pages",
        rule: "A token is good or refused with ABORTED, also when the volume it stands for was deleted (spec, ListVolumes).",
        alone: true,
        body: body!(walk_under_change),
        ..CHECK
    },
    Check {
        number: 124,
        title: "should refuse a negative max_entries",
        rule: "The value of max_entries MUST NOT be negative; an invalid field is INVALID_ARGUMENT (spec, ListVolumes).",
        body: body!(negative),
        ..CHECK
    },
];

/// Volumes made for paging, and entries on a page.
const VOLUMES: usize = 5;
const PAGE: i32 = 2;
/// A list that has not ended by then does not end.
const MOST_PAGES: usize = 10_000;

async fn page(case: &Case, max_entries: i32, token: &str) -> Answer<ListVolumesResponse> {
    case.session.list_volumes(ListVolumesRequest { max_entries, starting_token: token.to_owned() }).await
}

fn ids(response: &ListVolumesResponse) -> Vec<String> {
    response.entries.iter().filter_map(|entry| entry.volume.as_ref()).map(|volume| volume.volume_id.clone()).collect()
}

async fn volumes(case: &Case, prefix: &str) -> Outcome<BTreeSet<String>> {
    let mut made = BTreeSet::new();
    for index in 0..VOLUMES {
        made.insert(case.volume(&format!("{prefix}-{index}")).await?.volume_id);
    }
    Ok(made)
}

fn small_enough(response: &ListVolumesResponse) -> Outcome {
    let count = response.entries.len();
    ensure(count <= PAGE as usize, || format!("max_entries was {PAGE}, {count} were listed"))
}

async fn limit(case: &Case) -> Outcome {
    volumes(case, "sanity-page-limit").await?;
    let response = page(case, PAGE, "").await.succeeds("ListVolumes")?;
    small_enough(&response)?;
    ensure(!response.next_token.is_empty(), || format!("there are more than {PAGE} volumes, but next_token is empty"))
}

async fn walk(case: &Case) -> Outcome {
    let mut missing = volumes(case, "sanity-page-walk").await?;
    let mut token = String::new();
    for _ in 0..MOST_PAGES {
        let response = page(case, PAGE, &token).await.succeeds("ListVolumes")?;
        small_enough(&response)?;
        for id in ids(&response) {
            missing.remove(&id);
        }
        token = response.next_token;
        if token.is_empty() {
            return ensure(missing.is_empty(), || format!("no page has {missing:?}"));
        }
    }
    fail(format!("the list did not end after {MOST_PAGES} pages"))
}

async fn walk_under_change(case: &Case) -> Outcome {
    let made = volumes(case, "sanity-page-change").await?;
    let first = page(case, PAGE, "").await.succeeds("ListVolumes")?;
    // The last volume of the page is the one that a token is likely to stand for; only ours may be deleted.
    for id in ids(&first).iter().rev().filter(|id| made.contains(*id)).take(1) {
        case.delete_volume(id).await.succeeds("DeleteVolume")?;
    }
    case.volume("sanity-page-change-new").await?;
    let mut token = first.next_token;
    for _ in 0..MOST_PAGES {
        if token.is_empty() {
            return Ok(());
        }
        token = match page(case, PAGE, &token).await {
            Err(Refusal { code: Code::Aborted, cause: Cause::Driver, .. }) => return Ok(()),
            answer => answer.succeeds("ListVolumes with a token from before the change")?.next_token,
        };
    }
    fail(format!("the list did not end after {MOST_PAGES} pages"))
}

async fn negative(case: &Case) -> Outcome {
    page(case, -1, "").await.refused(Code::InvalidArgument, "ListVolumes with max_entries -1")
}
