//! 151 to 155: names at the border.

use csi_proto::csi::controller_service_capability::rpc::Type as ControllerType;
use tonic::Code;

use crate::{
    case::Case,
    check::{Check, Need},
    expect::{Expect, Outcome, ensure},
    names::LONGEST_NAME,
};

const CHECK: Check = Check {
    container: "Names of volumes",
    needs: &[Need::Controller(ControllerType::CreateDeleteVolume)],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 151,
        title: "should accept a name of one character",
        rule: "Any Unicode string of up to 128 bytes may be a name (spec, CreateVolumeRequest.name).",
        body: body!(shortest),
        ..CHECK
    },
    Check {
        number: 152,
        title: "should accept a name of 128 bytes that are not ASCII",
        rule: "Any Unicode string of up to 128 bytes may be a name (spec, CreateVolumeRequest.name and Size Limits).",
        body: body!(unicode),
        ..CHECK
    },
    Check {
        number: 153,
        title: "should refuse control characters",
        rule: "A name SHALL NOT contain control characters other than tab, line feed and carriage return (spec, \
               CreateVolumeRequest.name); an invalid field is INVALID_ARGUMENT.",
        body: body!(control_characters),
        ..CHECK
    },
    Check {
        number: 154,
        title: "should keep names apart that are the same path",
        rule: "Any Unicode string may be a name, and another name is another volume (spec, CreateVolumeRequest.name).",
        body: body!(paths),
        ..CHECK
    },
    Check {
        number: 155,
        title: "should keep long names apart that begin alike",
        rule: "Names are up to 128 bytes long, and another name is another volume (spec, CreateVolumeRequest.name).",
        body: body!(long_and_alike),
        ..CHECK
    },
];

/// Makes a volume twice; it must be the same one.
async fn twice(case: &Case, name: &str) -> Outcome<String> {
    let request = case.volume_request(name);
    let first = case.must_create(request.clone()).await?.volume_id;
    let second = case.must_create(request).await?.volume_id;
    ensure(first == second, || format!("the name {name:?} gave two volumes: {first} and {second}"))?;
    Ok(first)
}

async fn apart(case: &Case, names: [String; 2]) -> Outcome {
    let [first, second] = names;
    let (one, two) = (twice(case, &first).await?, twice(case, &second).await?);
    ensure(one != two, || format!("{first:?} and {second:?} gave the same volume {one}"))
}

async fn shortest(case: &Case) -> Outcome {
    twice(case, "s").await.map(|_| ())
}

async fn unicode(case: &Case) -> Outcome {
    let mut name = case.names.unique("sanity-ünïcode-名前");
    while name.len() + 'é'.len_utf8() <= LONGEST_NAME {
        name.push('é');
    }
    twice(case, &name).await.map(|_| ())
}

async fn control_characters(case: &Case) -> Outcome {
    for character in ['\u{1}', '\u{1b}', '\u{7f}', '\u{9f}'] {
        let name = case.names.unique(&format!("sanity-control{character}character"));
        let call = format!("CreateVolume with U+{:04X} in the name", u32::from(character));
        case.create_volume(case.volume_request(name)).await.refused(Code::InvalidArgument, &call)?;
    }
    Ok(())
}

async fn paths(case: &Case) -> Outcome {
    let plain = case.names.unique("sanity-path");
    apart(case, [format!("x/../{plain}"), plain]).await
}

async fn long_and_alike(case: &Case) -> Outcome {
    let long = case.names.longest("sanity-long-and-alike");
    let other = format!("{}b", &long[..LONGEST_NAME - 1]);
    apart(case, [long, other]).await
}
